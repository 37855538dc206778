"""Split-conformal prediction sets with any coverage, from stored nonconformity scores.

A prediction set contains the true class with a probability c that the caller chooses, its coverage. Let s(x, k) be a
nonconformity score: how badly class k fits row x. For rows exchangeable with n calibration rows, the set
{k: s(x, k) ≤ q} contains the true class with probability ≥ c if q is the ⌈(n + 1) c⌉-th smallest score of the
calibration rows' true classes (Vovk et al. 2005; Lei et al. 2018). This is true for any score that does not depend on
these rows. There are two:

- **lac**: 1 - p_k (Sadinle, Lei, Wasserman 2019, arXiv 1609.00451): the smallest sets on average.
- **aps**: the probability of all classes that are more probable than k (Romano, Sesia, Candès 2020, arXiv
  2006.02544): sets that grow where the head is uncertain. The paper adds a random share of p_k itself, so the same
  request would get different answers. Here the share is 0, and every set contains the most probable class. A share of 1
  gives valid sets too, but they are useless for heads that are often certain: at coverage 0.9 they had 43 of 99 classes
  on average, and with a share of 0 one class (caltech99, `benchmarks/outliers.py`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Sets = Literal["lac", "aps"]
SETS: tuple[Sets, ...] = get_args(Sets)

MOST_KEPT = 1000
"""Maximum number of stored values of each nonconformity score. With more calibration rows, a coverage uses the next
larger stored value, which raises the coverage by at most 1/1000."""


def lac_scores(proba: NDArray[Any]) -> NDArray[np.float64]:
    """Return 1 - p for probabilities p of any shape."""
    return 1.0 - proba.astype(np.float64)


def aps_scores(proba: NDArray[Any]) -> NDArray[np.float64]:
    """Return the total probability of all classes that rank before each class, (n, K); ties rank by column."""
    order = np.argsort(-proba, axis=1, kind="stable")
    ranked = np.take_along_axis(proba, order, axis=1).astype(np.float64)
    before = np.zeros_like(ranked)
    np.cumsum(ranked[:, :-1], axis=1, out=before[:, 1:])
    scores = np.empty_like(before)
    np.put_along_axis(scores, order, before, axis=1)
    return scores


NONCONFORMITY: dict[Sets, Callable[[NDArray[Any]], NDArray[np.float64]]] = {"lac": lac_scores, "aps": aps_scores}
"""Nonconformity scores of every class by kind of set: probabilities (n, K) → scores (n, K)."""


def aps_of_true(proba: NDArray[Any], codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return the `aps_scores` (n,) of the true classes `codes` (n,), without sorting the other classes."""
    true = np.take_along_axis(proba, codes[:, None], axis=1)
    before = (proba > true) | ((proba == true) & (np.arange(proba.shape[1]) < codes[:, None]))
    return np.asarray(np.einsum("ij,ij->i", proba, before, dtype=np.float64))


def kept_ranks(rows: int) -> NDArray[np.int64]:
    """Return the ranks, from 1, of those of `rows` scores that are stored: all, or `MOST_KEPT` evenly spread."""
    count = min(rows, MOST_KEPT)
    return -(-np.arange(1, count + 1, dtype=np.int64) * rows // max(count, 1))


def keep(scores: NDArray[Any]) -> tuple[float, ...]:
    """Return the scores to store, smallest first, of the calibration rows' scores (n,) of their true classes."""
    return tuple(np.sort(scores.astype(np.float64))[kept_ranks(len(scores)) - 1].tolist())


def threshold(kept: Sequence[float], rows: int, coverage: float) -> float:
    """Return the largest nonconformity score of a class in a prediction set, for a coverage in (0, 1).

    It is infinite for coverages above n / (n + 1): n calibration rows can guarantee these only for the set of all
    classes.

    Args:
        kept: result of `keep`.
        rows: number of calibration rows n.
    """
    rank = math.ceil((rows + 1) * coverage)
    if rank > rows:
        return math.inf
    return kept[int(np.searchsorted(kept_ranks(rows), rank))]


def prediction_sets(
    proba: NDArray[np.float32], inside: NDArray[np.bool_], names: NDArray[Any]
) -> list[tuple[str, ...] | None]:
    """Return the names of the classes in each row's prediction set, most probable first.

    The most probable class is always included, because a larger set only raises the coverage.

    Args:
        proba: probabilities (n, K).
        inside: true for classes whose nonconformity score is small enough, (n, K).
        names: names of the classes, (K,).
    """
    rows, columns = np.nonzero(inside | (proba == proba.max(axis=1, keepdims=True, initial=0)))
    order = np.lexsort((columns, -proba[rows, columns], rows))
    ends = np.cumsum(np.bincount(rows, minlength=len(proba)))
    members = names[columns[order]].tolist()
    return [tuple(members[start:end]) for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=False)]
