"""The near-duplicates of held-out rows among the training rows, as a training report has them."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Leakage:
    """Held-out rows (val and test) that have a near-duplicate among the training rows.

    Attributes:
        task, encoder: what was compared; of several encoders the first.
        found: number of held-out rows with a near-duplicate.
        held, training: numbers of rows that were compared.
        all_held, all_training: numbers of rows with a vector, or with a label if not all were read.
        threshold: the cosine from which two vectors count as near-duplicates.
    """

    task: str
    encoder: str
    found: int
    held: int
    training: int
    all_held: int
    all_training: int
    threshold: float

    def note(self) -> str:
        """Return one line for the report."""
        held, training = (
            f"{total:,}" if count == total else f"{count:,} (a sample of {total:,})"
            for count, total in ((self.held, self.all_held), (self.training, self.all_training))
        )
        counted = f"{self.found:,} of {held} held-out rows have a near-duplicate among {training} training rows"
        doubt = "; figures on them are too good" if self.found else ""
        return f"{counted} (cosine ≥ {self.threshold:.4g}, {self.encoder}){doubt}."

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes; JSON-serialisable."""
        return asdict(self)
