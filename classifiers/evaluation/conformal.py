"""Split-conformal prediction sets with any coverage, from stored nonconformity scores.

For rows exchangeable with n calibration rows, the set {k: s(x, k) ≤ q} holds the true class with probability ≥ c when
q is the ⌈(n + 1) c⌉-th smallest score of the calibration rows' true classes (Vovk et al. 2005; Lei et al. 2018).
That holds for any score s that was fixed before; two are offered:

- **lac**: 1 - p_k (Sadinle, Lei, Wasserman 2019, arXiv 1609.00451): the smallest sets on average.
- **aps**: the probability of all classes that are more probable than k (Romano, Sesia, Candès 2020, arXiv
  2006.02544): sets that grow where the head is unsure. The paper adds a random share of p_k itself, which makes an
  answer differ from one request to the next; here that share is 0, and the most probable class in every set. With the
  whole of p_k, the other choice without a draw, sets are valid too but useless for heads that are often sure: at
  coverage 0.9 they took 43 of 99 labels where a share of 0 took 1.0 (caltech99, `benchmarks/outliers.py`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Sets = Literal["lac", "aps"]
SETS: tuple[Sets, ...] = get_args(Sets)

MOST_KEPT = 1000
"""Scores kept of each kind. Up to so many rows every coverage has its own order statistic; of more rows it takes the
next larger one that was kept, which raises the coverage by at most 1/1000."""


def lac_scores(proba: NDArray[Any]) -> NDArray[np.float64]:
    """1 - p, of the same shape."""
    return 1.0 - proba.astype(np.float64)


def aps_scores(proba: NDArray[Any]) -> NDArray[np.float64]:
    """Probability of all classes before each class, (n, K), largest probability first and ties by column."""
    order = np.argsort(-proba, axis=1, kind="stable")
    ranked = np.take_along_axis(proba, order, axis=1).astype(np.float64)
    before = np.zeros_like(ranked)
    np.cumsum(ranked[:, :-1], axis=1, out=before[:, 1:])
    scores = np.empty_like(before)
    np.put_along_axis(scores, order, before, axis=1)
    return scores


NONCONFORMITY: dict[Sets, Callable[[NDArray[Any]], NDArray[np.float64]]] = {"lac": lac_scores, "aps": aps_scores}
"""The score of every class, (n, K) probabilities → (n, K), by kind of set."""


def aps_of_true(proba: NDArray[Any], codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """The column `codes` (n,) of `aps_scores`, (n,), without sorting the other classes."""
    true = np.take_along_axis(proba, codes[:, None], axis=1)
    before = (proba > true) | ((proba == true) & (np.arange(proba.shape[1]) < codes[:, None]))
    return np.asarray(np.einsum("ij,ij->i", proba, before, dtype=np.float64))


def kept_ranks(rows: int) -> NDArray[np.int64]:
    """Which order statistics of `rows` scores are kept, counted from 1: all, or `MOST_KEPT` evenly spread."""
    count = min(rows, MOST_KEPT)
    return -(-np.arange(1, count + 1, dtype=np.int64) * rows // max(count, 1))


def keep(scores: NDArray[Any]) -> tuple[float, ...]:
    """Of the calibration rows' scores (n,) of their true classes, those to store, smallest first."""
    return tuple(np.sort(scores.astype(np.float64))[kept_ranks(len(scores)) - 1].tolist())


def threshold(kept: Sequence[float], rows: int, coverage: float) -> float:
    """The largest score that is in a set of this coverage (0…1, exclusive), from what `keep` kept of `rows` scores.

    Infinite, so that every class is in, for coverages above n / (n + 1): so few rows can promise no more.
    """
    rank = math.ceil((rows + 1) * coverage)
    if rank > rows:
        return math.inf
    return kept[int(np.searchsorted(kept_ranks(rows), rank))]


def prediction_sets(
    proba: NDArray[np.float32], inside: NDArray[np.bool_], names: NDArray[Any]
) -> list[tuple[str, ...] | None]:
    """Names of the classes that are `inside` (n, K), per row, most probable first.

    The most probable class is always in: a larger set only raises the coverage.
    """
    rows, columns = np.nonzero(inside | (proba == proba.max(axis=1, keepdims=True, initial=0)))
    order = np.lexsort((columns, -proba[rows, columns], rows))
    ends = np.cumsum(np.bincount(rows, minlength=len(proba)))
    members = names[columns[order]].tolist()
    return [tuple(members[start:end]) for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=False)]
