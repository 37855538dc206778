"""How a job went: what it could not do, how often for which reason, with an example of each."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from store import Quarantined


@dataclass(slots=True)
class Failures:
    """What went to quarantine. Bounded by the number of reasons, however many items fail.

    Attributes:
        counts: items by reason.
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
    """What every job counts beside its own work: the items that went to quarantine, and the time since it began."""

    failures: Failures = field(default_factory=Failures)
    seconds: float = 0.0

    @property
    def quarantined(self) -> int:
        return self.failures.total
