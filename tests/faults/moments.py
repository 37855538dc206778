"""Moments at which a process is disturbed."""

import re
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

KILL, ENDED, FAULTS = "kill", ("int", "term"), ("full", "read-only")
"""Ways to disturb a process: end it at once, ask it to end, or make its disk fail from then on."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a process is disturbed, and how.

    Attributes:
        how: kill, int, term, full or read-only; none for an undisturbed process.
        call: before this call that changes the folder, counted from 1; 0: by time.
        after: seconds from the start.
    """

    how: str = "none"
    call: int = 0
    after: float = 0.0

    def __str__(self) -> str:
        return f"{self.how}@{self.call}" if self.call else f"{self.how}@{1000 * self.after:.1f}ms"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the moment that `str` wrote."""
        how, _, when = text.partition("@")
        if when.endswith("ms"):
            return cls(how, after=float(when.removesuffix("ms")) / 1000)
        return cls(how, int(when))

    def seen(self, ended: "Ended") -> Self:
        """Return a moment before a call for one by time, where the process had made calls, so that it comes again."""
        return replace(self, call=len(ended.calls) + 1, after=0.0) if self.after and ended.calls else self


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a process.

    Attributes:
        how: ``0``; ``-9`` or another signal; ``stopped`` for a process that ended itself as asked; ``named: …`` for an
            error that has a type and a reason; ``crashed: …`` for any other error; ``hung``.
        acknowledged: keys that the operation has acknowledged.
        calls: the calls below the folder, as kind and path.
        seconds: from start to end.
        hit: True if the moment was reached.
    """

    how: str
    acknowledged: tuple[str, ...]
    calls: tuple[str, ...]
    seconds: float
    hit: bool

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        return cls(**record | {name: tuple(record[name]) for name in ("acknowledged", "calls")})

    @property
    def place(self) -> str:
        """The call before which it ended, without the random parts of names."""
        return place(self.calls[-1]) if self.calls else "start"


def place(call: str) -> str:
    """Return a call without the digits and the random parts of its path."""
    return re.sub(r"[0-9a-f-]{8,}|\.new-\w+|\d+|#\w+", "*", call)


def draw(random: np.random.Generator, calls: int, seconds: float, ways: tuple[str, ...], exact: int) -> Moment:
    """Return a random moment of a run of so many calls and seconds.

    Args:
        exact: this call instead of a random one; 0 for a random one.
    """
    how = KILL if random.random() < 0.75 or not ways else str(random.choice(ways))
    if calls and (exact or how in FAULTS or random.random() < 0.75):
        return Moment(how, call=exact or int(random.integers(1, calls + 1)))
    return Moment(how if how not in FAULTS else KILL, after=float(random.uniform(0, 1.1 * seconds)))
