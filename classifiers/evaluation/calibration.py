"""Temperature and outlier percentiles from validation rows; prediction sets are in `classifiers.evaluation.conformal`.

All functions are pure and take NumPy arrays; `codes` are column numbers of the true classes.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTLIER_QUANTILES = 101
"""Number of stored quantiles of the validation rows' outlier scores: one per percent."""

CHUNK_CELLS = 2**16
"""Scores in one step of the NLL. Their float64 copies stay in the cache, which takes half the time of larger steps."""

MOST_KEPT = 2**24
"""Maximum number of scores whose float64 copies (134 MB) are kept for all steps of a search. They are half the work."""

LEAST_BETA, MOST_BETA = 1e-3, 1e2
TOLERANCE = 1e-4
"""Relative error of β = 1/T at which the search stops; no number of rows determines it so exactly."""

MOST_TEMPERATURE = 1e6
"""Where the search for a temperature ends: the largest one that the manifest of a head allows."""

LOWEST_SCORE = -1e4
"""Lowest score, relative to the row's best score. It replaces -inf, whose product with probability 0 would be NaN."""


def fit_temperature(scores: NDArray[Any], codes: NDArray[np.integer[Any]]) -> float:
    """Return the T > 0 that minimises the mean NLL of softmax(scores / T): Guo et al. 2017, arXiv 1706.04599.

    The NLL (mean negative log-likelihood) is convex in β = 1/T; a Newton search inside a shrinking bracket finds its
    minimum. The result is 1.0 if no other temperature is better, and for no rows.

    If all of a few rows are right, the NLL is least for T → 0, which gives probabilities of 1. So scores are sharpened
    (T < 1) only while the mean confidence is at most (n + 1) / (n + 2), the probability that n rows that are all right
    justify (Laplace's rule of succession).

    Args:
        scores: (n, K) floats; -inf marks a class that is never predicted.
        codes: (n,) in 0…K-1.
    """
    if len(scores) == 0:
        return 1.0
    low, high, beta = LEAST_BETA, MOST_BETA, 1.0
    justified = (len(scores) + 1) / (len(scores) + 2)
    parts = _Parts(scores, codes)
    first = found = parts.nll(beta)
    if first.slope < 0 and first.confidence >= justified:
        return 1.0
    for _ in range(40):
        too_sure = beta > 1 and found.confidence > justified
        low, high = (low, beta) if too_sure or found.slope > 0 else (beta, high)
        step = math.inf if too_sure or found.curvature <= 0 else beta - found.slope / found.curvature
        following = step if low < step < high else math.sqrt(low * high)
        if abs(following - beta) <= TOLERANCE * beta:
            break
        beta, found = following, parts.nll(following)
    return 1.0 / beta if found.mean < first.mean else 1.0


def least_temperature(scores: NDArray[Any]) -> float:
    """Return the least T ≥ 1 at which the mean confidence of softmax(scores / T) is at most (n + 1) / (n + 2).

    It is for heads without rows to calibrate on: n is the number of rows that the head learned from, and no more
    confidence than this is justified by n rows that are all right, see `fit_temperature`. Scores of 6 rows in 1,280
    columns differ by hundreds, so that without a temperature every answer has the probability 1.

    Args:
        scores: of the rows that the head learned from, (n, K); -inf marks a class that is never predicted.
    """
    if not scores.size:
        return 1.0
    relative = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    justified = max((len(scores) + 1) / (len(scores) + 2), 1 / scores.shape[1])

    def allowed(temperature: float) -> bool:
        return bool((1 / np.exp(relative / temperature).sum(axis=1)).mean() <= justified)

    low, high = 1.0, 1.0
    while not allowed(high) and high < MOST_TEMPERATURE:
        low, high = high, min(2 * high, MOST_TEMPERATURE)
    while high > (1 + TOLERANCE) * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if allowed(middle) else (middle, high)
    return high


def mean_nll(scores: NDArray[Any], codes: NDArray[np.integer[Any]], temperature: float) -> float:
    """Return the mean NLL of softmax(scores / temperature) in nats, with arguments as in `fit_temperature`, n ≥ 1."""
    return float(row_nll(scores, codes, temperature).mean())


def row_nll(scores: NDArray[Any], codes: NDArray[np.integer[Any]], temperature: float) -> NDArray[np.float64]:
    """Return the NLL of each row in nats, (n,); the mean of these is `mean_nll`."""
    losses = [np.empty(0)]
    for chunk, true in _relative(scores, codes):
        losses.append(np.log(np.exp(chunk / temperature).sum(axis=1)) - true / temperature)
    return np.concatenate(losses)


_Part = tuple[NDArray[np.float64], NDArray[np.float64]]


def _relative(scores: NDArray[Any], codes: NDArray[np.integer[Any]]) -> Iterator[_Part]:
    """Yield the scores minus the best score of their row, (m, K), and those of the true classes, (m,), in parts."""
    rows = max(1, CHUNK_CELLS // scores.shape[1])
    for start in range(0, len(scores), rows):
        chunk = scores[start : start + rows].astype(np.float64)
        chunk -= chunk.max(axis=1, keepdims=True)
        np.maximum(chunk, LOWEST_SCORE, out=chunk)
        yield chunk, chunk[np.arange(len(chunk)), codes[start : start + rows]]


class _NLL(NamedTuple):
    """The mean NLL of softmax(β scores), its first two derivatives in β, and the mean of the largest probabilities."""

    mean: float
    slope: float
    curvature: float
    confidence: float


class _Parts:
    """Scores (n ≥ 1, K) with the true classes (n,), in parts for which the NLL is computed one after the other."""

    def __init__(self, scores: NDArray[Any], codes: NDArray[np.integer[Any]]) -> None:
        self._scores, self._codes = scores, codes
        self._kept = list(_relative(scores, codes)) if scores.size <= MOST_KEPT else None

    def nll(self, beta: float) -> _NLL:
        """Return the NLL at one β, computed in float64."""
        total = np.zeros(4)
        ones = np.ones(self._scores.shape[1])
        for chunk, true in self._kept or _relative(self._scores, self._codes):
            weights = beta * chunk
            np.exp(weights, out=weights)
            normaliser = weights @ ones
            weights *= chunk
            mean = weights @ ones / normaliser
            square = np.vecdot(weights, chunk) / normaliser
            total += (
                (np.log(normaliser) - beta * true).sum(),
                (mean - true).sum(),
                (square - mean**2).sum(),
                (1.0 / normaliser).sum(),  # the largest weight is exp(0)
            )
        return _NLL(*(total / len(self._scores)).tolist())


def score_quantiles(scores: NDArray[Any]) -> tuple[float, ...]:
    """Return evenly spaced quantiles, smallest first, of validation rows' outlier scores (n,); () for no rows."""
    if len(scores) == 0:
        return ()
    levels = np.linspace(0.0, 1.0, OUTLIER_QUANTILES)
    return tuple(np.quantile(scores.astype(np.float64), levels).tolist())


def outlier_percentile(scores: NDArray[Any], quantiles: Sequence[float]) -> NDArray[np.float64]:
    """Return the percentage of validation rows whose outlier score is below that of each row, (n,) in 0…100.

    Args:
        scores: outlier scores, (n,); larger means less like the training rows.
        quantiles: result of `score_quantiles` for the validation rows.
    """
    levels = np.linspace(0.0, 100.0, len(quantiles))
    return np.asarray(np.interp(scores.astype(np.float64), quantiles, levels))
