"""The memory budget of a service: it is shared by all requests under way, and what does not fit is refused at once.

A request reserves its memory before its body is read: the declared length, or each chunk as it arrives, times the
factor of its media type. It reserves more when it turns out to need more, and gives everything back when it ends.
"""

import math
import time

from starlette.types import Scope

from services.web.errors import Stopping, TooBusy
from services.web.media_types import FORM, JSON, PACKED

FACTORS = {FORM.encode(): 2, PACKED.encode(): 2, JSON.encode(): 4}
"""Media type → memory for each byte of a body. A file of a form, or of a packed body, is held as it is, and once more
while it is sent on. JSON is held as bytes, as the objects that are parsed from it, and as the files or numbers that
these contain."""

OTHER = max(FACTORS.values())
"""Memory for each byte of a body of another media type."""

SMALL = 2**20
"""Bytes up to which a request counts as small."""

FOR_SMALL = 0.25
"""Part of the budget that only small requests may use. Large bodies that never end cannot block a single photo."""

_NEWEST = 0.2  # weight of the newest request in the running mean of the seconds that memory is held


def factor(scope: Scope) -> int:
    """Return the memory that a service needs for each byte of the body of a request."""
    kind = next((value for key, value in scope["headers"] if key == b"content-type"), b"")
    return FACTORS.get(kind.partition(b";")[0].strip().lower(), OTHER)


class Admission:
    """The budget of one process. All calls are on one event loop, so nothing is locked.

    Attributes:
        limit: size of the budget in bytes.
        used: bytes that are reserved now.
        stopping: True from the moment at which the service is told to stop.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used, self.stopping = limit, 0, False
        self._seconds = 1.0

    def held(self, seconds: float) -> None:
        """Note how long a refused request would have had to wait: the time that a large request held its memory."""
        self._seconds += _NEWEST * (seconds - self._seconds)

    def check(self, held: int, more: int) -> None:
        """Check that a request which holds `held` bytes can have `more`. Raises TooBusy, and Stopping."""
        if self.stopping:
            raise Stopping
        room = self.limit if held + more <= SMALL else int(self.limit * (1 - FOR_SMALL))
        if self.used + more > room:
            raise TooBusy(self.used, more, room, math.ceil(self._seconds))


class Reservation:
    """The memory that one request has reserved, in bytes. `release` gives it back; calling it twice is harmless."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self.bytes, self._since = admission, 0, time.monotonic()

    def add(self, more: int) -> None:
        """Reserve `more` bytes. Raises TooBusy or Stopping, and reserves nothing then."""
        self._admission.check(self.bytes, more)
        self.count(more)

    def count(self, more: int) -> None:
        """Reserve `more` bytes even beyond the budget: an answer that is computed is not thrown away."""
        self.bytes += more
        self._admission.used += more

    def release(self) -> None:
        """Give all the memory back."""
        if self.bytes > SMALL:
            self._admission.held(time.monotonic() - self._since)
        self._admission.used -= self.bytes
        self.bytes = 0


KEY = "headwater.reservation"
"""Name under which the reservation of a request is in its scope."""


def reservation(scope: Scope) -> Reservation:
    """Return the reservation of a request."""
    found: Reservation = scope[KEY]
    return found
