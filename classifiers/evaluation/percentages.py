"""Shares and their differences as texts, in percent and in percentage points."""

from typing import Protocol


class HasInterval(Protocol):
    """A mean with its interval, all in 0…1 or -1…1."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def percent(value: float) -> str:
    """Return a share in percent, without the sign %."""
    return f"{100 * value:.1f}"


def points(found: HasInterval) -> str:
    """Return a difference of two shares in percentage points, with its interval; a rounded zero has the sign +."""
    return f"{100 * found.mean:+z.1f} ({100 * found.low:+z.1f} to {100 * found.high:+z.1f})"
