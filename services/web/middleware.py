"""Surrounds every request with its id, the limits on its body, a log line and metrics."""

import asyncio
import logging
import random
import re
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.web.access.roles import only_reads
from services.web.admission import KEY, Admission, Reservation
from services.web.error_answers import CODE, ErrorResponse, refusal
from services.web.errors import Refused, Stopping
from services.web.logs import request_id
from services.web.metrics import Metrics
from services.web.quoting import shortened
from services.web.receiving import BoundedBody
from services.web.schemas import Problem
from services.web.tracing import UNTRACED, RequestSpan, Tracing
from services.web.waiting import Lanes, Place

log = logging.getLogger("headwater.http")

CLIENT_GONE = 499
"""Status in logs and metrics of a request whose client left before the request was read. nginx uses the same number."""

QUIET = ("/health", "/metrics")
"""Routes that monitoring calls every few seconds; their log lines have the level DEBUG."""


TASK = "headwater.task"
"""Name under which the scope of a request that only reads has its task. It is None once the client has left."""

PIECE = 256 * 2**10
"""Bytes of an answer that are handed to the server at a time. It waits between two pieces until the client reads."""


def abandon(scope: MutableMapping[str, Any]) -> None:
    """Stop the work on a request whose client has left, unless the request may change something."""
    task: asyncio.Task[None] | None = scope.get(TASK)
    if task is not None:
        scope[TASK] = None
        task.cancel()


class RequestScope:
    """ASGI middleware: request id, limits on the body, 500 for unexpected exceptions, one log line, metrics, a span.

    Written as plain ASGI, because a middleware that reads bodies or wraps responses costs latency.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        tracing: Tracing,
        admission: Admission,
        lanes: Lanes,
        max_bytes: int,
        max_seconds: float,
    ) -> None:
        self.app, self.metrics, self.tracing, self.admission, self.lanes = app, metrics, tracing, admission, lanes
        self._max_bytes, self._max_seconds = max_bytes, max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id.set(_request_id(scope))
        span = UNTRACED if scope["path"].startswith(QUIET) else self.tracing.request(scope)
        reserved = scope[KEY] = Reservation(self.admission)
        if only_reads(scope["method"], scope["path"]):
            scope[TASK] = asyncio.current_task()
        place = Place(self.lanes.of(scope))
        answer = _Answer(send, reserved, place)
        try:
            body = BoundedBody(
                scope, receive, reserved, place, max_bytes=self._max_bytes, max_seconds=self._max_seconds
            )
            await self._answer(scope, body, answer)
        finally:
            reserved.release()
            place.give_back(answer.status)
            self._report(scope, answer.status, time.perf_counter() - start, span)

    async def _answer(self, scope: Scope, body: BoundedBody, answer: "_Answer") -> None:
        """Answer the request whatever happens."""
        try:
            body.admit()
            await self.app(scope, body, answer)
        except Refused as error:
            await refusal(error)(scope, body, answer)
        except ClientDisconnect:
            answer.status = CLIENT_GONE
        except asyncio.CancelledError:
            if TASK in scope and scope[TASK] is None:
                answer.status = CLIENT_GONE
                return
            if not self.admission.stopping:
                raise
            if not answer.status:  # the server stops, and its patience has ended
                await refusal(Stopping())(scope, body, answer)
        except Exception:
            log.exception("request failed", extra={"path": shortened(scope["path"])})
            if not answer.status:
                trouble = Problem(code="internal", message="an internal error; the service's log has the details")
                await ErrorResponse(500, trouble)(scope, body, answer)

    def _report(self, scope: Scope, status: int, seconds: float, span: RequestSpan) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")  # the raw path would make a metric for every URL
        self.metrics.request(scope["method"], route, status, seconds)
        if code := scope.get(CODE):
            self.metrics.error(code)
        fields = {"method": scope["method"], "path": shortened(scope["path"]), "status": status}
        level = logging.DEBUG if route.startswith(QUIET) else logging.INFO
        log.log(level, "answered", extra=fields | {"ms": round(seconds * 1e3, 2)})
        span.end(scope["method"], route, status, request_id.get())


class _Answer:
    """The `send` of a request. It adds the request id, and hands a large answer over in pieces.

    The place is given back when the answer begins: a client that reads slowly takes memory, but keeps no one waiting.

    Attributes:
        status: HTTP status of the answer; 0 before it began.
    """

    def __init__(self, send: Send, reserved: Reservation, place: Place) -> None:
        self._send, self._reserved, self._place, self.status = send, reserved, place, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._place.give_back(self.status)
            message["headers"] = [*message["headers"], (b"x-request-id", request_id.get().encode())]
        if len(message.get("body", b"")) > PIECE:
            await self._in_pieces(message)
        else:
            await self._send(message)

    async def _in_pieces(self, message: Message) -> None:
        """Send a large answer. Until a slow client has read it, it counts as memory of the request."""
        body, more = message["body"], message.get("more_body", False)
        self._reserved.count(len(body))
        for start in range(0, len(body), PIECE):
            last = start + PIECE >= len(body)
            piece = body[start : start + PIECE]
            await self._send({"type": message["type"], "body": piece, "more_body": more or not last})


def _request_id(scope: Scope) -> str:
    """Return the id that the client sent, if it is well-formed, otherwise a new one."""
    given = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"x-request-id"), "")
    return given if re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII) else f"{random.getrandbits(128):032x}"
