"""Receives the body of a request within its limits: size, memory and time."""

import asyncio
import time

from starlette.types import Message, Receive, Scope

from services.web.admission import Reservation, factor
from services.web.errors import TooLarge, TooSlow
from services.web.waiting import Place

PATIENCE = 10.0
"""Longest pause of a body in seconds, and the seconds in which it may arrive slower than `SLOWEST`."""

SLOWEST = 16 * 2**10
"""Bytes a second that a body has to arrive with on average, after `PATIENCE`."""


class BoundedBody:
    """The `receive` of a request. It refuses a body that is too large, too slow, or does not fit the memory left.

    Args:
        max_bytes: largest body.
        max_seconds: longest time for the whole body.
        reserved: receives the memory that the body needs.
        place: taken when the body is complete.

    `admit` and `__call__` raise TooLarge, TooSlow, TooBusy, Overloaded and Stopping.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        reserved: Reservation,
        place: Place,
        *,
        max_bytes: int,
        max_seconds: float,
    ) -> None:
        self._receive, self._reserved, self._factor = receive, reserved, factor(scope)
        self._place, self._has_body = place, _has_body(scope)
        self._max_bytes, self._max_seconds = max_bytes, max_seconds
        self._declared = _declared_length(scope)
        self._read, self._ended, self._start = 0, False, time.monotonic()

    def admit(self) -> None:
        """Reserve the memory of the declared length. A body without one reserves as it arrives."""
        self._check_size(self._declared)
        if self._has_body:
            self._place.check()
        else:
            self._place.take()
        if self._declared:
            self._reserved.add(self._declared * self._factor)

    async def __call__(self) -> Message:
        if self._ended:  # the wait is for the client to leave, and may last
            return await self._receive()
        try:
            async with asyncio.timeout(self._seconds_left()):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow(self._read, time.monotonic() - self._start) from None
        self._take(message)
        return message

    def _take(self, message: Message) -> None:
        size = len(message.get("body", b""))
        self._read += size
        self._check_size(self._read)
        if size and self._read > self._declared:
            self._reserved.add(size * self._factor)
        self._ended = not message.get("more_body", False)
        if self._ended:
            self._place.take()

    def _seconds_left(self) -> float:
        allowed = min(self._max_seconds, PATIENCE + self._read / SLOWEST)
        return min(PATIENCE, allowed - (time.monotonic() - self._start))

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise TooLarge(
                f"the request body is larger than {self._max_bytes} bytes; "
                "send fewer or smaller items; the operator can raise HEADWATER_MAX_BODY_BYTES"
            )


def _has_body(scope: Scope) -> bool:
    return any(key in (b"content-length", b"transfer-encoding") and value != b"0" for key, value in scope["headers"])


def _declared_length(scope: Scope) -> int:
    return next((int(v) for k, v in scope["headers"] if k == b"content-length" and v.isdigit()), 0)
