"""The paired bootstrap, which estimates whether one head is better than another on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.outcomes import BOOTSTRAP_DRAWS, SMALLEST, Outcomes


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of a figure over the rows for head A minus that for head B.

    Attributes:
        low, high: 95 % percentile interval over resampled rows.
        better: share of the draws in which A is better than B, ties not counted.
    """

    mean: float
    low: float
    high: float
    better: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Head A compared with head B on the same rows: in `accuracy` (0…1, more is better) and `nll` (nats, less is)."""

    accuracy: Difference
    nll: Difference

    @property
    def alike(self) -> bool:
        """True if the difference may be chance: both intervals contain 0."""
        return self.accuracy.low <= 0 <= self.accuracy.high and self.nll.low <= 0 <= self.nll.high


def paired_bootstrap(
    first: Outcomes, others: Sequence[Outcomes], *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS
) -> list[Pair]:
    """Return the comparisons of `first` with each of `others`, all on the same rows in the same order.

    Rows are drawn with replacement, the same rows for all heads, so the difficulty of a row cancels out (Efron and
    Tibshirani 1993, chapter 16). Raises ValueError for no rows, or for other rows than those of `first`.
    """
    if not others:
        return []
    if len(first) == 0:
        raise ValueError("no rows to compare on")
    if any(not np.array_equal(first.codes, other.codes) for other in others):
        raise ValueError("a paired comparison needs the same rows in the same order on both sides")
    differences = np.concatenate([figures(first) - figures(other) for other in others], axis=1)
    drawn = bootstrap_means(differences, seed, draws).reshape(draws, len(others), 2)
    means = differences.mean(axis=0).reshape(len(others), 2)
    return [
        Pair(difference(mean[0], drawn[:, i, 0], 1), difference(mean[1], drawn[:, i, 1], -1))
        for i, mean in enumerate(means)
    ]


def figures(outcomes: Outcomes) -> NDArray[np.float64]:
    """Return two figures of each row, (n, 2): 1 if it is right, otherwise 0; and its NLL in nats."""
    nll = -np.log(np.maximum(outcomes.likelihood.astype(np.float64), SMALLEST))
    return np.stack([outcomes.predicted == outcomes.codes, nll], axis=1)


def bootstrap_means(values: NDArray[np.float64], seed: int, draws: int) -> NDArray[np.float64]:
    """Return the means (draws, m) of values (n, m) over n rows drawn with replacement."""
    rng, n = np.random.default_rng(seed), len(values)
    means = np.empty((draws, values.shape[1]))
    for draw in range(draws):  # drawing counts needs n numbers at a time for any m
        means[draw] = np.bincount(rng.integers(0, n, n), minlength=n) @ values / n
    return means


def difference(mean: Any, drawn: NDArray[np.float64], sign: int) -> Difference:
    """Return a mean with the interval of its draws; `sign` is 1 if more is better, -1 if less is better."""
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return Difference(float(mean), low, high, float(np.mean(sign * drawn > 0)))


def paired_difference(values: NDArray[np.float64], *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> Difference:
    """Return the mean of differences (n ≥ 1,) between two heads, one a row, with its bootstrap interval.

    The result has the distribution of `paired_bootstrap`. Its time depends on the number of distinct values and not on
    that of rows: how often each value is drawn is multinomial, so no row has to be drawn.
    """
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), draws) @ distinct / len(values)
    return difference(values.mean(), drawn, 1)
