"""Bounds how long a request waits for those before it: one that would wait longer is refused before its body is read.

By Little's law, the requests under way take as long as their number divided by the requests that are answered a second.
"""

import math
import time

from starlette.types import Scope

from services.web.errors import Overloaded
from services.web.media_types import carries_files

LEAST = 32
"""Requests that may always be under way: a full batch of an encoder, however slow it is."""

LONGEST_RETRY = 10.0
"""Largest Retry-After in seconds. Nobody knows the load of a later time."""

HTTP_ERROR = 400
"""Least HTTP status of a request that failed."""

_MEMORY = 5.0
"""Seconds of work after which what was measured counts 1/e."""

_FIRST_RATE = 100.0
"""Answers a second, before any was measured."""


class Throughput:
    """What is under way, and how much of it is done in a second of work. Idle time does not count.

    Attributes:
        under_way: number of requests, or items, that are being answered.
    """

    def __init__(self) -> None:
        self.under_way, self._done, self._seconds, self._last = 0, _FIRST_RATE, 1.0, 0.0

    @property
    def rate(self) -> float:
        """Number that is done in a second of work, weighted towards the last seconds."""
        return self._done / self._seconds

    def begin(self, count: int = 1) -> None:
        """Count work that begins."""
        if not self.under_way:
            self._last = time.monotonic()
        self.under_way += count

    def end(self, count: int = 1, *, done: bool = True) -> None:
        """Count work that ends. What was refused took time, but is not done: it says nothing of how long work takes."""
        self.under_way -= count
        now = time.monotonic()
        faded = math.exp((self._last - now) / _MEMORY)
        self._done, self._seconds = self._done * faded + count * done, self._seconds * faded + now - self._last
        self._last = now


class LastMinute:
    """Counts what was done in the last minute, to the second."""

    SECONDS = 60

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, count: int) -> None:
        """Count work that has just been done."""
        now = int(time.monotonic())
        if now not in self._counts:
            self._counts = {second: n for second, n in self._counts.items() if second > now - self.SECONDS}
        self._counts[now] = self._counts.get(now, 0) + count

    @property
    def rate(self) -> float:
        """Number that was done in a second of the last minute, idle time included."""
        begin = time.monotonic() - self.SECONDS
        return sum(n for second, n in self._counts.items() if second > begin) / self.SECONDS


class Lane(Throughput):
    """The requests of one sort that are under way in one process. All calls are on one event loop.

    Attributes:
        max_wait: longest time in seconds that a request may be expected to take.
    """

    def __init__(self, max_wait: float) -> None:
        super().__init__()
        self.max_wait = max_wait
        self._told, self._last_told = 0.0, time.monotonic()  # refused requests that are expected back

    @property
    def most(self) -> int:
        """Most requests that may be under way."""
        return max(LEAST, int(self.rate * self.max_wait))

    def check(self) -> None:
        """Raise Overloaded if one more request would wait too long."""
        if self.under_way >= self.most:
            raise Overloaded(self.under_way, self.max_wait, self._retry_after())

    def _retry_after(self) -> int:
        """Return the seconds in which those under way and those refused before are answered, if all of them return."""
        now = time.monotonic()
        self._told = max(0.0, self._told - self.rate * (now - self._last_told)) + 1
        self._last_told = now
        self._told = min(self._told, LONGEST_RETRY * self.rate)
        return math.ceil(min((self.under_way + self._told) / self.rate, LONGEST_RETRY))


class Lanes:
    """The lanes of a service: files have one, so that slow encoders do not keep out what needs none; all else has one.

    Health checks and metrics have none: they are answered under any load. Nor have requests that follow a job: they
    last, take no processor time, and have a limit of their own.
    """

    EXEMPT = ("/health", "/metrics")
    LASTING = "/events"

    def __init__(self, max_wait: float) -> None:
        self._files, self._others = Lane(max_wait), Lane(max_wait)

    def of(self, scope: Scope) -> Lane | None:
        """Return the lane of a request; None for one that is never refused."""
        if scope["path"].startswith(self.EXEMPT) or scope["path"].endswith(self.LASTING):
            return None
        kind = next((value for key, value in scope["headers"] if key == b"content-type"), b"")
        return self._files if carries_files(kind) else self._others


class Place:
    """The place of one request in its lane. It is taken when the body is complete: slow bodies keep nobody out."""

    def __init__(self, lane: Lane | None) -> None:
        self._lane, self._is_taken = lane, False

    def check(self) -> None:
        """Raise Overloaded if there is no place."""
        if self._lane and not self._is_taken:
            self._lane.check()

    def take(self) -> None:
        """Take the place. Raises Overloaded."""
        if self._lane and not self._is_taken:
            self._lane.check()
            self._lane.begin()
            self._is_taken = True

    def give_back(self, status: int) -> None:
        """Give the place back, if it was taken. `status` is the HTTP status of the answer; 0 if there was none."""
        if self._lane and self._is_taken:
            self._lane.end(done=0 < status < HTTP_ERROR)
            self._is_taken = False
