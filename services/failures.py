"""What a job could not do: how often for which reason, with an example of each. The rows are in quarantine."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from store import Quarantined


@dataclass(slots=True)
class Failures:
    """Bounded by the number of reasons, however many items fail.

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
