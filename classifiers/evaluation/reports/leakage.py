"""The near-duplicates of held-out rows among the training rows, as a training report has them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Without:
    """The figure of a head, in 0…1, on those rows of a split that were compared.

    Attributes:
        figure: "accuracy"; with any number of labels a row "F1", the mean over the rows of the F1 of their labels.
        rows, value: number of rows without a near-duplicate, and the figure on them.
        all_rows, all_value: the same for all rows that were compared.
    """

    figure: str
    rows: int
    value: float
    all_rows: int
    all_value: float

    def said(self) -> str:
        """Return the figures as a clause."""
        return (
            f"{self.figure} {self.value:.4f} without them ({self.rows:,} rows), {self.all_value:.4f} with them "
            f"({self.all_rows:,} rows)"
        )


@dataclass(frozen=True, slots=True)
class Leakage:
    """Held-out rows (val and test) that have a near-duplicate among the training rows.

    Attributes:
        task, encoder: what was compared; of several encoders the first.
        found: number of held-out rows with a near-duplicate.
        held, training: numbers of rows that were compared.
        all_held, all_training: numbers of rows with a vector, or with a label if not all were read.
        threshold: the cosine from which two vectors count as near-duplicates.
        without: figures with and without the held-out rows that have a near-duplicate, by split with such rows.
    """

    task: str
    encoder: str
    found: int
    held: int
    training: int
    all_held: int
    all_training: int
    threshold: float
    without: Mapping[str, Without] = field(default_factory=dict)

    def note(self) -> str:
        """Return one line for the report."""
        held, training = (
            f"{total:,}" if count == total else f"{count:,} (a sample of {total:,})"
            for count, total in ((self.held, self.all_held), (self.training, self.all_training))
        )
        counted = f"{self.found:,} of {held} held-out rows have a near-duplicate among {training} training rows"
        doubt = "; figures on them are too good" if self.found else ""
        doubt += "".join(f". {split}: {each.said()}" for split, each in self.without.items())
        return f"{counted} (cosine ≥ {self.threshold:.4g}, {self.encoder}){doubt}."

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes; JSON-serialisable."""
        return asdict(self)
