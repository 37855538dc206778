"""How good vectors are by one judge: accuracy for rows of one class each, mAP for rows with any number of labels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.evaluation.outcomes import bootstrap_interval
from classifiers.evaluation.paired import Difference, difference, paired_difference
from classifiers.evaluation.resampled import Draws, drawn_map, row_draws

CELLS = 2 * 10**8
"""Maximum number of weighted cells of a bootstrap of mAP, a tenth of the usual one: there are dozens of bootstraps."""


class Outcome(ABC):
    """What a judge found on m rows with the vectors of s ≥ 1 seeds.

    Attributes:
        figure: name of the figure in sentences and tables.
        key: its name in JSON.
        values: the figure of each seed, 0…1, (s,).
    """

    figure: ClassVar[str]
    key: ClassVar[str]
    values: NDArray[np.float64]

    @classmethod
    @abstractmethod
    def of(cls, predicted: Any, truth: Any) -> Self:
        """Return the outcome of one seed, from what the judge predicts of the rows, and their classes or labels."""

    @classmethod
    @abstractmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the outcome of all seeds, from that of each on the same rows."""

    @property
    def value(self) -> float:
        """Mean over the seeds."""
        return float(self.values.mean())

    @abstractmethod
    def interval(self, seed: int) -> tuple[float, float]:
        """Return the 95 % bootstrap interval of `value` over rows."""

    @abstractmethod
    def ahead_of(self, other: Self, seed: int) -> Difference:
        """Return `value` minus that of another outcome on the same rows, with its paired interval over rows."""


@dataclass(frozen=True, eq=False)
class RightRows(Outcome):
    """Rows of one class each. `right` is True for each row that is classified correctly, (s, m)."""

    figure = key = "accuracy"
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> Self:
        return cls((predicted == truth)[None])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        return cls(np.concatenate([each.right for each in parts]))

    @cached_property
    def values(self) -> NDArray[np.float64]:  # type: ignore[override]  # computed once
        return np.asarray(self.right.mean(axis=1))

    def interval(self, seed: int) -> tuple[float, float]:
        return bootstrap_interval(self.value, self.right.shape[1], seed)

    def ahead_of(self, other: Self, seed: int) -> Difference:
        return paired_difference(self.right.mean(axis=0) - other.right.mean(axis=0), seed=seed)


@dataclass(frozen=True, eq=False)
class RankedRows(Outcome):
    """Rows with any number of labels: scores (s, m, L), and which row has which label, (m, L)."""

    figure = "mAP"
    key = "map"
    scores: NDArray[np.float32]
    truth: NDArray[np.bool_]

    @classmethod
    def of(cls, predicted: NDArray[np.float32], truth: NDArray[np.bool_]) -> Self:
        return cls(predicted[None], truth)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        return cls(np.concatenate([each.scores for each in parts]), parts[0].truth)

    @cached_property
    def values(self) -> NDArray[np.float64]:  # type: ignore[override]  # computed once
        return np.array([mean_average_precision(each, self.truth) for each in self.scores])

    def interval(self, seed: int) -> tuple[float, float]:
        low, high = np.quantile(self._drawn(seed), (0.025, 0.975)).tolist()
        return low, high

    def ahead_of(self, other: Self, seed: int) -> Difference:
        return difference(self.value - other.value, self._drawn(seed) - other._drawn(seed), 1)

    def _drawn(self, seed: int) -> NDArray[np.float64]:
        """Return `value` for each draw of the rows, less its bias, (B,). All outcomes have the same draws."""
        if seed not in self._known:
            draws = _draws(*self.truth.shape, seed)
            drawn = np.mean([drawn_map(each, self.truth, draws) for each in self.scores], axis=0)
            self._known[seed] = drawn - drawn.mean() + self.value
        return self._known[seed]

    @cached_property
    def _known(self) -> dict[int, NDArray[np.float64]]:
        """The draws of each seed that was asked for."""
        return {}


@lru_cache(maxsize=4)
def _draws(rows: int, labels: int, seed: int) -> Draws:
    return row_draws(rows, labels, seed, CELLS)
