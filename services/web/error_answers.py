"""Turns exceptions into answers: every error of both services has the one shape of `ErrorBody`."""

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from services.web.access.roles import METHODS, endpoint_of
from services.web.errors import ERRORS, HTTP_CODES, Refused, RemoteProblem, status_and_code
from services.web.known_names import Known, known_names, names_at, suggestion
from services.web.logs import request_id
from services.web.quoting import shortened
from services.web.schemas import ErrorBody, Problem
from store.errors import StoreError, disk_fault

RETRY_AFTER_SECONDS = 1
"""Value of the header Retry-After of a 429 or 503, unless the exception gives a time itself."""

LONGEST_MESSAGE = 1000
"""Longest message in an answer, in characters. Messages list what exists, and quote the request in short."""

MOST_FAULTS = 10
"""Largest number of faults of a body that one message lists."""

ANSWERED = (*ERRORS, RemoteProblem, HTTPException, RequestValidationError, OSError)
"""The exceptions that `answer_error` handles. Every other one is a fault of the service: 500."""

CODE = "headwater.code"
"""Name under which the code of the error that answers a request is in its scope."""

REPORTED = ("store_unavailable", "disk_full")
"""Codes whose message is logged, because the operator has to act."""

log = logging.getLogger("headwater.http")


def problem(error: Exception) -> Problem:
    """Return the code and the message of `error` as a client sees them."""
    return Problem(code=status_and_code(error)[1], message=shortened(str(error), LONGEST_MESSAGE))


class ErrorResponse(JSONResponse):
    """The answer to a whole request that fails. It leaves the code of the error in the scope, for the metrics."""

    def __init__(self, status: int, trouble: Problem, headers: dict[str, str] | None = None) -> None:
        self.code = trouble.code
        body = ErrorBody.model_validate({"error": {**trouble.model_dump(), "request_id": request_id.get()}})
        super().__init__(body.model_dump(), status_code=status, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CODE] = self.code
        await super().__call__(scope, receive, send)


def refusal(error: Refused) -> JSONResponse:
    """Return the answer to a request that was refused before its endpoint answered."""
    trouble = Problem(code=error.code, message=shortened(error.detail, LONGEST_MESSAGE))
    return ErrorResponse(error.status, trouble, dict(error.headers or {}))


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Answer an exception that an endpoint raised. Both services register this function as their handler."""
    if isinstance(error, Refused):
        return refusal(error)
    if isinstance(error, HTTPException):
        code = HTTP_CODES.get(error.status_code, "bad_request")
        trouble = Problem(code=code, message=shortened(str(error.detail), LONGEST_MESSAGE))
        status = 422 if error.status_code == 400 else error.status_code  # FastAPI: a body that is no text, or too deep
        allow = {"Allow": _allowed(request.url.path)} if status == 405 else {}
        return ErrorResponse(status, trouble, {**(error.headers or {}), **allow})
    if isinstance(error, RequestValidationError):
        return ErrorResponse(422, Problem(code="bad_request", message=_faults(error, known_names(request.scope))))
    if isinstance(error, OSError) and not isinstance(error, StoreError):
        if (fault := disk_fault(error.errno, str(error.filename or "a file of this service"))) is None:
            raise error  # a fault of the service: 500
        error = fault
    status, code = status_and_code(error)
    if code in REPORTED:
        log.error(code, extra={"reason": str(error)})
    seconds = math.ceil(getattr(error, "retry_after", RETRY_AFTER_SECONDS))
    retry = {"Retry-After": str(max(1, seconds))} if status in (429, 503) else None
    return ErrorResponse(status, problem(error), retry)


def _allowed(path: str) -> str:
    """Return the header Allow: every method of a path, while Starlette names those of one route only."""
    return ", ".join(method for method in METHODS if endpoint_of(method, path))


def _faults(error: RequestValidationError, known: Known) -> str:
    """Return one "where: what" for each fault that the validation found, as far as they fit a message."""
    found = error.errors()
    places = ((_place(fault["loc"]), _said(fault, known)) for fault in found[:MOST_FAULTS])
    listed = "; ".join(": ".join(filter(None, place)) for place in places)
    more = f"; and {len(found) - MOST_FAULTS} more faults" if len(found) > MOST_FAULTS else ""
    return shortened(listed, LONGEST_MESSAGE) + more


def _said(fault: Mapping[str, Any], known: Known) -> str:
    """Return what is wrong: for a field that is unknown, with the name that is probably meant."""
    if fault["type"] != "extra_forbidden" or not known:
        return str(fault["msg"])
    *place, name = fault["loc"]
    return f"unknown field; {suggestion(str(name), names_at(place, known))}"


def _place(parts: Iterable[object]) -> str:
    return ".".join(shortened(str(part)) for part in parts)
