"""The bootstrap over rows with any number of labels: figures of rows that are drawn with replacement.

A draw says how often each row is in it. The same draws serve every head, so the figures of two heads are paired.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.outcomes import BOOTSTRAP_DRAWS
from classifiers.heads.base import best

MOST_CELLS, LEAST_DRAWS = 2 * 10**9, 200
"""Maximum number of weighted cells (draws × rows × labels) of a bootstrap, and the least number of draws: 2 · 10⁹ cells
take about 20 s. So 767 rows with 18 labels get all draws, and 40,000 rows with 80 labels 625."""

Draws = NDArray[np.float32]
"""How often each draw has each row, (draws, n)."""


def row_draws(rows: int, labels: int, seed: int, cells: int = MOST_CELLS) -> Draws:
    """Return draws of `rows` rows with replacement; fewer draws for many rows and labels, at most so many `cells`."""
    count = int(np.clip(cells // (rows * labels), LEAST_DRAWS, BOOTSTRAP_DRAWS))
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(count)]).astype(np.float32)


def drawn_map(scores: NDArray[Any], truth: NDArray[np.bool_], draws: Draws) -> NDArray[np.float64]:
    """Return the mean average precision of each draw, (draws,), over the labels with a positive row in it.

    It is biased upwards, because a row that is drawn twice raises an average precision: compare it with its own mean.

    Args:
        scores, truth: (n, L).
    """
    known, by_row = np.flatnonzero(truth.any(axis=0)), np.ascontiguousarray(draws.T)
    precisions = np.full((len(draws), len(known)), np.nan)
    for column, label in enumerate(known.tolist()):
        precisions[:, column] = drawn_precisions(scores[:, label], truth[:, label], by_row)
    seen = np.isfinite(precisions)
    return np.asarray(np.where(seen, precisions, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1))


def drawn_precisions(scores: NDArray[Any], there: NDArray[np.bool_], by_row: Draws) -> NDArray[np.float64]:
    """Return the average precision of one label in each draw, (draws,); NaN in draws without a positive row.

    The recall rises only at positive rows, so the precision is computed there alone.

    Args:
        scores, there: (n,), with at least one positive row.
        by_row: the draws, transposed: (n, draws). Sums over rows then run along memory, which takes a
            quarter of the time.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, positive = scores[order], np.flatnonzero(there[order])
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # equal scores enter together
    entered = last[np.searchsorted(last, positive)]
    distinct = np.append(np.flatnonzero(entered[1:] != entered[:-1]), len(entered) - 1)
    claimed = np.cumsum(by_row[order], axis=0)[entered[distinct]]
    right = np.cumsum(by_row[order[positive]], axis=0)[distinct]
    steps = np.diff(right, prepend=0, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(claimed > 0, right / claimed, 0.0)
        return np.asarray((steps * precision).sum(axis=0, dtype=np.float64) / right[-1])


def drawn_f1_at(scores: NDArray[Any], truth: NDArray[np.bool_], k: int, draws: Draws) -> NDArray[np.float64]:
    """Return the F1 of all decisions in each draw, (draws,), if the k best labels of every row are predicted.

    Args:
        scores, truth: (n, L).
    """
    chosen = best(scores, k)
    right = draws @ np.take_along_axis(truth, chosen, axis=1).sum(axis=1, dtype=np.float64)
    total = draws.sum(axis=1) * chosen.shape[1] + draws @ truth.sum(axis=1, dtype=np.float64)
    return np.asarray(2.0 * right / total)
