"""Parses JSON bodies: on a thread, so that other requests go on, and only if their values fit the memory."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool

from services.web.admission import reservation
from services.web.errors import TooLarge

M = TypeVar("M", bound=BaseModel)

MOST_VALUES = 2**20
"""Largest number of values of one JSON body: 256 vectors of 4096 numbers. They are parsed in less than 0.1 s, during
which the parser holds the interpreter."""

MOST_FIELDS = 100
"""Largest number of fields of a body. More are none that a service knows, and each would make a fault of its own."""

MOST_KEYS = 4096
"""Largest number of fields of all objects in a body that `read_model` reads."""

VALUE_BYTES = 48
"""Memory for each value of a body: a Python number, its place in a list, and its place in an array."""

_PIECE = 2**20


async def read_model(request: Request, model: type[M]) -> M:
    """Return the body as a `model`. Raises RequestValidationError, TooLarge and TooBusy."""
    data = await _admitted(request)
    if data.count(b'":') > MOST_KEYS:
        raise TooLarge(f"more than {MOST_KEYS} fields in one JSON body; send several requests")
    try:
        return await run_in_threadpool(model.model_validate_json, data)
    except ValidationError as error:  # as FastAPI does for the bodies that it parses itself
        if error.error_count() > MOST_FIELDS:
            raise TooLarge(f"the body has {error.error_count()} faults, too many to list; see /docs") from None
        raise RequestValidationError(error.errors(include_url=False)) from error


async def _admitted(request: Request) -> bytes:
    """Return the body, after memory for its values was reserved."""
    data = await request.body()
    values = _count_values(data) if len(data) <= _PIECE else await run_in_threadpool(_count_values, data)
    if values > MOST_VALUES:
        raise TooLarge(f"more than {MOST_VALUES} values in one JSON body; send several requests")
    reservation(request.scope).add(values * VALUE_BYTES)
    return data


def _count_values(data: bytes) -> int:
    """Return how many values a JSON text has at most. Commas inside of strings count too."""
    pieces = (memoryview(data)[at : at + _PIECE].tobytes() for at in range(0, len(data), _PIECE))
    return 1 + sum(piece.count(sign) for piece in pieces for sign in (b",", b"[", b"{"))


class JsonRoute(APIRoute):
    """A route whose JSON body is parsed by this module, and not by FastAPI on the event loop."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Return the parsed body. Raises JSONDecodeError, which FastAPI answers; TooLarge; TooBusy."""
        data = await _admitted(self)
        try:
            body = from_json(data) if len(data) <= _PIECE else await run_in_threadpool(from_json, data)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error
        if isinstance(body, dict) and len(body) > MOST_FIELDS:
            raise TooLarge(f"{len(body)} fields in one body; see /docs for those that it may have")
        return body
