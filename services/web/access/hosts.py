"""The hosts for which a service answers.

A page can point a DNS name of its own at 127.0.0.1 after it was loaded (DNS rebinding). Its requests to that name then
reach the service, and the browser takes them for requests to the page's own origin. They still carry the name in the
header Host, so a service that answers only for its own names is safe. An IP address in Host is safe too: such a page
was loaded from that address. So a service that listens on every address answers for every address.

Health checks and metrics are no exception: they show names of heads and numbers of requests. Monitoring reaches them by
address, which needs no setting, or by a name in HEADWATER_ALLOWED_HOSTS.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from services.settings import Settings
from services.web.access.errors import WrongHost
from services.web.error_answers import refusal

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?", re.ASCII)
"""A name or an address, in brackets if it is IPv6, and maybe a port (RFC 9110, 7.2; in lower case)."""

LONGEST = 255
KEPT = 256
"""Number of hosts for which the answer is kept, so that a request costs no parsing."""


class HostGuard:
    """ASGI middleware: 421 for a request whose Host is missing, given twice, or none of this service."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._allows = lru_cache(KEPT)(allowing(settings.host, settings.allowed_hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        hosts = [value for key, value in scope["headers"] if key == b"host"]
        if len(hosts) == 1 and len(hosts[0]) <= LONGEST and self._allows(hosts[0]):
            await self.app(scope, receive, send)
        else:
            await refusal(WrongHost(b", ".join(hosts).decode("latin-1")))(scope, receive, send)


def allowing(bound: str, allowed: tuple[str, ...]) -> Callable[[bytes], bool]:
    """Return a function that returns True for each value of the header Host that a service on `bound` answers.

    Args:
        bound: the address or the name on which the service listens.
        allowed: more names, without ports.
    """
    names = {"localhost", *(name.lower().strip("[]") for name in (bound, *allowed))}
    everywhere = (address := _address(bound)) is not None and address.is_unspecified

    def allows(host: bytes) -> bool:
        match = HOST.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name = match[1].strip("[]").removesuffix(".")
        address = _address(name)
        return name in names or (address is not None and (everywhere or address.is_loopback))

    return allows


def is_loopback(host: str) -> bool:
    """Return True if only this machine reaches a service that listens on `host`."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None
