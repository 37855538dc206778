"""Requests of pages in a browser: pages of other origins may not send anything but a GET, unless they are allowed.

A browser lets every page send forms to every address, also to this machine, and only hides the answer. It says where a
request comes from: ``Origin`` has the origin of the page, and ``Sec-Fetch-Site`` its relation to the service (Fetch
Metadata). Programs such as curl send neither. No GET changes anything, and its answer is hidden without CORS headers.
"""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.web.access.errors import CrossOrigin
from services.web.access.roles import METHODS
from services.web.error_answers import refusal

READS = ("GET", "HEAD")
"""Methods that change nothing. Every other one is refused for pages of other origins."""

OWN = {None, b"same-origin", b"none"}
"""Values of Sec-Fetch-Site of requests that no page of another origin made; None where the header is missing."""

PREFLIGHT_SECONDS = 600
"""Time for which a browser may keep the answer to a preflight."""


class OriginGuard:
    """ASGI middleware: 403 for pages of other origins; CORS headers and answers to preflights for allowed ones."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self.app, self.allowed = app, {origin.encode() for origin in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] in READS and not self.allowed):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if origin in self.allowed:
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                await _answer_preflight(headers, send)
                return
            send = _readable(send, origin)
        elif scope["method"] not in READS and not _own(headers):
            await refusal(CrossOrigin((origin or b"").decode("latin-1")))(scope, receive, send)
            return
        elif self.allowed:
            send = _with(send, (b"vary", b"Origin"))
        await self.app(scope, receive, send)


def _own(headers: dict[bytes, bytes]) -> bool:
    """Return True if no page sent the request, or a page of this service did.

    The scheme of the origin is not compared: behind a proxy that ends TLS, the service sees http where the page has
    https. `Sec-Fetch-Site`, which browsers send to https and to loopback, tells the two apart.
    """
    origin = headers.get(b"origin")
    same = origin is None or origin.lower().partition(b"://")[2] == headers[b"host"].lower()
    return same and headers.get(b"sec-fetch-site") in OWN


async def _answer_preflight(headers: dict[bytes, bytes], send: Send) -> None:
    """Allow the request that a browser asks about: the origin is allowed, so all that matters is the request itself."""
    answer = [
        (b"access-control-allow-origin", headers[b"origin"]),
        (b"access-control-allow-methods", ", ".join(METHODS).encode()),
        (b"access-control-allow-headers", headers.get(b"access-control-request-headers", b"")),
        (b"access-control-allow-private-network", b"true"),
        (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        (b"vary", b"Origin, Access-Control-Request-Headers"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": answer})
    await send({"type": "http.response.body", "body": b""})


def _readable(send: Send, origin: bytes | None) -> Send:
    """Return `send` with the headers that let a page of `origin` read the answer."""
    return _with(
        send,
        (b"access-control-allow-origin", origin or b""),
        (b"access-control-expose-headers", b"X-Request-ID, Retry-After"),
        (b"vary", b"Origin"),
    )


def _with(send: Send, *headers: tuple[bytes, bytes]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return send_with_headers
