"""Bounds a connection before and after the app sees its requests: headers, idle time, unread answers."""

import asyncio
import logging
import uuid
from collections.abc import MutableMapping
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.settings import Settings
from services.web.error_answers import ErrorResponse
from services.web.errors import HEAD_CODES
from services.web.logs import request_id
from services.web.middleware import abandon
from services.web.schemas import Problem

log = logging.getLogger("headwater.http")

HEAD_SECONDS = 10.0
"""Longest time in which the headers of a request arrive, counted from the connection or from the last answer."""

LINGER_SECONDS = 5.0
"""Time in which a client may go on sending a body that is answered already, so that it reads the answer. Then the
connection is closed."""

UNREAD_SECONDS = 30.0
"""Longest time in which a client reads nothing of an answer that waits for it."""

MOST_PIPELINED = 64
"""Largest number of requests that one client sends ahead on a connection."""

_MARKS = len(b": \r\n")  # what stands between the name and the value of a header, and after it


class _HeadTooLarge(ValueError):
    """The URL and the headers of a request are larger than allowed."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits on what a client sends and on the time that it takes.

    The parser keeps a header until it is complete, so the bytes since the last complete part of a message are counted:
    they bound headers, trailers and extensions of chunks alike.

    Attributes:
        max_header_bytes: largest URL and headers of a request.
    """

    max_header_bytes: ClassVar[int] = 64 * 2**10

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = 0
        self._in_body = False
        self._watched: str | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._watch_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self.cycle is not None and not self.cycle.response_complete:
            abandon(cast("MutableMapping[str, Any]", self.cycle.scope))

    def data_received(self, data: bytes) -> None:
        self._unparsed += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unparsed > self.max_header_bytes:
            self._refuse_head()
        self._watch()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + _MARKS for name, value in self.headers)
        if size > self.max_header_bytes or len(self.pipeline) > MOST_PIPELINED:
            raise _HeadTooLarge
        self._unparsed, self._in_body = 0, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed, self._in_body = 0, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - our own sentence is answered
        """Answer a request that cannot be parsed, and close the connection. uvicorn calls this method."""
        if self._unparsed > self.max_header_bytes:
            self._refuse_head()
        else:
            self._refuse(400, "this is no HTTP request that can be read; check the client")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def _watch_reader(self, waiting: int) -> None:
        self._write_timer = self.loop.call_later(UNREAD_SECONDS, self._abort_unless_read, waiting)

    def _abort_unless_read(self, waiting: int) -> None:
        """Close the connection of a client that has read nothing of the `waiting` bytes."""
        left = self.transport.get_write_buffer_size()
        if left < waiting:
            self._watch_reader(left)
        else:
            self.transport.abort()

    def _waits_for(self) -> str | None:
        """Return what the client has to send next: the `head` of a request, or the `rest` of an answered one.

        None while a request is read or answered by the app, which has its own limits.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        return "rest" if self._in_body else "head"

    def _watch(self) -> None:
        waits_for = self._waits_for()
        if waits_for == self._watched:
            return
        self._watched = waits_for
        if self._watch_timer is not None:
            self._watch_timer.cancel()
        deadlines = {"head": (HEAD_SECONDS, self._head_is_late), "rest": (LINGER_SECONDS, self.transport.abort)}
        self._watch_timer = self.loop.call_later(*deadlines[waits_for]) if waits_for else None

    def _head_is_late(self) -> None:
        if self._unparsed:
            self._refuse(408, f"the headers did not arrive within {HEAD_SECONDS:.0f} s; send the request again")
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse(
            431,
            f"the URL and the headers are larger than {self.max_header_bytes} bytes; send less in them; the operator "
            "can raise HEADWATER_MAX_HEADER_BYTES",
        )

    def _refuse(self, status: int, message: str) -> None:
        """Answer the request whose head is read, unless an answer is on its way, and close the connection."""
        code = HEAD_CODES[status]
        request_id.set(uuid.uuid4().hex)
        log.warning("refused", extra={"status": status, "code": code})
        if self.cycle is None or self.cycle.response_complete:
            answer = ErrorResponse(status, Problem(code=code, message=message), {"Connection": "close"})
            headers = [*answer.raw_headers, (b"x-request-id", request_id.get().encode())]
            lines = (name + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()


def protocol(settings: Settings) -> type[BoundedProtocol]:
    """Return the protocol with the limits of `settings`."""
    return type("Protocol", (BoundedProtocol,), {"max_header_bytes": settings.max_header_bytes})
