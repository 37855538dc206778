"""The base class of heads that give a row any number of labels: one probability and one threshold per label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.heads.base import Head, Link, probabilities, require_shapes


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Score threshold for each label: a row gets the labels whose scores reach it.

    Scores are compared before temperature and link, so calibration changes no decision.

    Attributes:
        labels: float32 (L,).
        common: threshold of labels that no threshold was tuned for, such as new labels in a request, float32 (1,).
    """

    labels: NDArray[np.float32]
    common: NDArray[np.float32]

    @classmethod
    def even(cls, n_labels: int) -> Self:
        """Return thresholds of probability one half at temperature 1."""
        return cls(np.zeros(n_labels, np.float32), np.zeros(1, np.float32))

    def over(self, known: Sequence[str], classes: Sequence[str]) -> Self:
        """Return thresholds of other labels: `known` names keep theirs, new ones get the common threshold."""
        own = dict(zip(known, self.labels, strict=True))
        return type(self)(np.array([own.get(name, self.common[0]) for name in classes], np.float32), self.common)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the thresholds as arrays of a head."""
        return {"thresholds": self.labels, "common_threshold": self.common}

    @classmethod
    def split(cls, arrays: Mapping[str, NDArray[Any]], n_labels: int) -> tuple[Self, dict[str, NDArray[Any]]]:
        """Return the thresholds among a head's arrays, and its other arrays. Raises ValueError for wrong shapes."""
        names = ("thresholds", "common_threshold")
        found = {name: array for name, array in arrays.items() if name in names}
        require_shapes(found, {"thresholds": ((n_labels,), "float32"), "common_threshold": ((1,), "float32")})
        return cls(found["thresholds"], found["common_threshold"]), {n: a for n, a in arrays.items() if n not in names}


class LabelsHead(Head):
    """A head that gives a row any number of labels.

    Attributes:
        thresholds: score threshold for each label; a probability of one half at temperature 1 unless tuned.
    """

    link: ClassVar[Link] = "sigmoid"
    offset: ClassVar[str]
    """Name of the array that is added to the scores: one number, or one per label."""

    def __init__(self, classes: Sequence[str], thresholds: Thresholds | None = None, temperature: float = 1.0) -> None:
        super().__init__(classes, temperature)
        self.thresholds = Thresholds.even(len(self.classes)) if thresholds is None else thresholds

    def with_thresholds(self, thresholds: Thresholds) -> Self:
        """Return the head with other thresholds. Raises ValueError unless there is one for each label."""
        return type(self).from_arrays({**self.arrays(), **thresholds.arrays()}, self.meta())

    def shifted(self, by: float) -> Self:
        """Return the head with `by` added to all scores and thresholds: probabilities change, decisions do not."""
        step, arrays = np.float32(by), self.arrays()
        moved = {name: arrays[name] + step for name in (self.offset, "thresholds", "common_threshold")}
        return type(self).from_arrays({**arrays, **moved}, self.meta())

    def labels_of(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        return np.asarray(scores >= self.thresholds.labels)

    def margins(self, proba: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the smallest distance of the probability of any label to the label's threshold, (n,)."""
        limits = probabilities(self.thresholds.labels[None], self.link, self.temperature)
        return np.asarray(np.abs(proba - limits).min(axis=1))

    def given(self, X: ArrayLike) -> NDArray[np.bool_]:
        """True for each label whose score reaches its threshold, (n, L). Raises BadVectors."""
        return self.labels_of(self.scores(X))
