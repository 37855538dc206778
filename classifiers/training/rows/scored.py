"""Rows with their scores under a head, and the result of learning from training rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.base import Head
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.training.rows.rows import Rows

H_co = TypeVar("H_co", bound=Head, covariant=True)


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of some rows under a head, with the rows' true classes or labels.

    Attributes:
        scores: before temperature, float32 (n, outputs).
        truth: column of the true class, (n,); for rows with any number of labels, true if a row has a label, (n, L).
    """

    scores: NDArray[np.float32]
    truth: NDArray[Any]

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts, in order; at least one part."""
        return cls(np.concatenate([part.scores for part in parts]), np.concatenate([part.truth for part in parts]))

    def aligned(self, own: Sequence[str], wanted: Sequence[str]) -> "Scored":
        """Return rows with one class each, with a column of scores for every class of `wanted`.

        Classes that the head does not know get scores of -inf.

        Args:
            own: classes of the head, sorted.
            wanted: sorted classes that include all of `own`.
        """
        columns = np.searchsorted(np.array(wanted), np.array(own))
        scores = np.full((len(self.scores), len(wanted)), -np.inf, np.float32)
        scores[:, columns] = self.scores
        return Scored(scores, columns[self.truth])

    def narrowed(self, own: Sequence[str], wanted: Sequence[str]) -> "Scored":
        """Return rows with one class each, without the columns of classes outside `own`: the inverse of `aligned`."""
        columns = np.searchsorted(np.array(wanted), np.array(own))
        return Scored(self.scores[:, columns], np.searchsorted(columns, self.truth))


def scored(rows: Rows, head: Head, split: str) -> Iterator[Scored]:
    """Score the rows of a split that have one class each, batch by batch; rows of unknown classes are left out."""
    for X, codes in rows.known(split, head.classes):
        yield Scored(head.scores(X), codes)


def scored_labels(rows: Rows, head: Head, split: str) -> list[Scored]:
    """Score the rows of a split that have any number of labels; vectors are read in parts and not kept."""
    return [Scored(head.scores(part.X), part.Y) for part in rows.parts(split, head.classes) if part.ids]


@dataclass(frozen=True, slots=True)
class Learned(Generic[H_co]):
    """A fitted head, with the facts and scores that calibration and the report need.

    Attributes:
        head: not calibrated.
        counts: training rows of each of its classes or labels; zeros for a head that learned from no row.
        rows: number of training rows that it learned from.
        ids: their asset ids.
        asked: classes or labels that the head was asked to learn; it knows those that have training rows.
        validated: scored validation rows, or held-out training rows scored by heads that were learned like this one. If
            a parameter was chosen on a few validation rows, their scores are independent of the choice. Empty if there
            are no such rows; None if they are not scored yet.
        few: without `validated`, training rows scored by heads that did not learn from them, too few to report figures
            on. They only limit the confidence.
        unseen: False if a part of the head was fitted on the rows in `validated`. Such rows are good enough to fit a
            temperature, but not to compare heads.
        notes: facts that a reader of the report must know, one sentence each.
        units: statistics of the training rows at unit norm in each encoder's block, by class of the head, from which an
            outlier detector is learned; None if they were not gathered.
    """

    head: H_co
    counts: tuple[int, ...]
    rows: int
    ids: Sequence[str]
    asked: tuple[str, ...]
    validated: Sequence[Scored] | None = None
    few: Sequence[Scored] = ()
    unseen: bool = True
    notes: tuple[str, ...] = ()
    units: GaussianStatistics | None = None
