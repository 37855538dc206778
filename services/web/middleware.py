"""Around every request: its id, its limits, its log line and, when it fails, its answer in one shape."""

import logging
import math
import re
import time
import uuid

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.web.errors import HTTP_CODES, status_and_code
from services.web.logs import request_id
from services.web.metrics import Metrics
from services.web.schemas import ErrorBody, Problem

log = logging.getLogger("headwater.http")

RETRY_AFTER_SECONDS = 1

CLIENT_GONE = 499
"""The status in logs and metrics of a request whose client left before it was read: what nginx made customary."""


class TooLarge(HTTPException):
    """A limit on the size of a request was passed, while it was still being read.

    An HTTPException, because FastAPI and Starlette let nothing else through while they read a body.
    """

    def __init__(self, message: str) -> None:
        super().__init__(status_code=413, detail=message)


def problem(error: Exception) -> Problem:
    """What a client is told of `error`."""
    return Problem(code=status_and_code(error)[1], message=str(error))


def error_response(status: int, trouble: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    body = ErrorBody.model_validate({"error": {**trouble.model_dump(), "request_id": request_id.get()}})
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


async def answer_error(_: Request, error: Exception) -> Response:
    """The exception handler of both apps."""
    if isinstance(error, HTTPException):
        code = HTTP_CODES.get(error.status_code, "bad_request")
        return error_response(
            error.status_code, Problem(code=code, message=str(error.detail)), dict(error.headers or {})
        )
    if isinstance(error, RequestValidationError):
        faults = "; ".join(": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in error.errors())
        return error_response(422, Problem(code="bad_request", message=faults))
    status = status_and_code(error)[0]
    seconds = math.ceil(getattr(error, "retry_after", RETRY_AFTER_SECONDS))
    retry = {"Retry-After": str(max(1, seconds))} if status == 503 else None
    return error_response(status, problem(error), retry)


class RequestScope:
    """Around every request: an id, the body limit, a last resort for errors, one log line, metrics.

    Plain ASGI, because a middleware that reads bodies or wraps responses costs latency.
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
        seconds = time.perf_counter() - start
        route = getattr(scope.get("route"), "path", "unmatched")  # never the raw path: one label a route
        self.metrics.request(scope["method"], route, status, seconds)
        fields = {"method": scope["method"], "path": scope["path"], "status": status}
        level = logging.DEBUG if route.startswith(("/health", "/metrics")) else logging.INFO
        log.log(level, "answered", extra=fields | {"ms": round(seconds * 1e3, 2)})

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        too_large = TooLarge(
            f"the request body is larger than {self.max_body_bytes} bytes; "
            "send fewer or smaller items, or raise HEADWATER_MAX_BODY_BYTES"
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
    given = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"x-request-id"), "")
    return given if re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
