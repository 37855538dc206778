"""Progress of a job: how far it is, which items failed, and the one type of callback that it calls."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from store import Quarantined


class JobProgress(Protocol):
    """The progress of a job, as a progress bar shows it. Every job reports an object like this."""

    @property
    def handled(self) -> int:
        """Number of finished items, failed ones included."""

    @property
    def total(self) -> int | None:
        """Number of all items of the job; None while it is unknown."""

    @property
    def note(self) -> str:
        """A few words beside the bar."""


P = TypeVar("P", bound=JobProgress)

OnProgress = Callable[[P], None]
"""A job calls this function from time to time, and once at its end, with its progress so far."""


class Step(NamedTuple):
    """The progress of a job that has nothing to report but its position."""

    handled: int
    total: int | None
    note: str


def ignore(_: JobProgress) -> None:
    """The callback of a caller who does not follow a job."""


@dataclass(slots=True)
class Failures:
    """The items that went to quarantine. Its size grows with the number of reasons, not with the number of items.

    Attributes:
        counts: number of items for each reason.
        examples: the first item of each reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Quarantined] = field(default_factory=dict)

    def add(self, rows: Iterable[Quarantined]) -> None:
        for row in rows:
            self.counts[row.reason] += 1
            self.examples.setdefault(row.reason, row)

    @property
    def total(self) -> int:
        return self.counts.total()


@dataclass(slots=True)
class Outcome:
    """Base class of the results of jobs that put broken items into quarantine.

    Attributes:
        failures: the items in quarantine.
        seconds: time since the job began.
    """

    failures: Failures = field(default_factory=Failures)
    seconds: float = 0.0

    @property
    def quarantined(self) -> int:
        return self.failures.total
