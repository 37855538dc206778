"""Surrounds every request with its id, the limit on its body, a log line and metrics."""

import logging
import re
import time
import uuid

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.web.error_answers import error_response
from services.web.errors import TooLarge
from services.web.logs import request_id
from services.web.metrics import Metrics
from services.web.schemas import Problem

log = logging.getLogger("headwater.http")

CLIENT_GONE = 499
"""Status in logs and metrics of a request whose client left before the request was read. nginx uses the same number."""

QUIET = ("/health", "/metrics")
"""Routes that monitoring calls every few seconds; their log lines have the level DEBUG."""


class RequestScope:
    """ASGI middleware: request id, limit on the body, 500 for unexpected exceptions, one log line, metrics.

    Written as plain ASGI, because a middleware that reads bodies or wraps responses costs latency.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int) -> None:
        self.app, self.metrics, self.max_body_bytes = app, metrics, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        request_id.set(_request_id(scope))

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.get().encode())]
            await send(message)

        try:
            await self.app(scope, self._limited(scope, receive), send_with_id)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:
            log.exception("request failed", extra={"path": scope["path"]})
            if not status:
                trouble = Problem(code="internal", message="an internal error; the service's log has the details")
                await error_response(500, trouble)(scope, receive, send_with_id)
        self._report(scope, status, time.perf_counter() - start)

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")  # the raw path would make a metric for every URL
        self.metrics.request(scope["method"], route, status, seconds)
        fields = {"method": scope["method"], "path": scope["path"], "status": status}
        level = logging.DEBUG if route.startswith(QUIET) else logging.INFO
        log.log(level, "answered", extra=fields | {"ms": round(seconds * 1e3, 2)})

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Return `receive`, which now raises TooLarge as soon as the declared or the read size passes the limit."""
        too_large = TooLarge(
            f"the request body is larger than {self.max_body_bytes} bytes; "
            "send fewer or smaller items; the operator can raise HEADWATER_MAX_BODY_BYTES"
        )
        declared = next((int(v) for k, v in scope["headers"] if k == b"content-length" and v.isdigit()), 0)
        read = 0

        async def receive_limited() -> Message:
            nonlocal read
            if declared > self.max_body_bytes:
                raise too_large
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_body_bytes:
                raise too_large
            return message

        return receive_limited


def _request_id(scope: Scope) -> str:
    """Return the id that the client sent, if it is well-formed, otherwise a new one."""
    given = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"x-request-id"), "")
    return given if re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
