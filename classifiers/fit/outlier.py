"""Leave-one-out outlier scores of training rows, for outlier percentiles when there are no validation rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.outlier import PrecisionPair

ROWS_AT_ONCE = 1024
"""Number of rows that are scored at a time: their distances from 1,000 classes are 8 MB each."""


def left_out_scores(
    statistics: GaussianStatistics, solved: PrecisionPair, X: NDArray[np.float32], codes: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return each training row's relative Mahalanobis distance under a detector that did not learn from the row, (n,).

    No further inverse is needed. Removing a row changes both covariances by one outer product, so the Sherman-Morrison
    formula gives the new inverses. λ, the scale of its target and the divisor N are kept, because one row hardly
    changes them.

    Folds would do worse. With as many columns as rows, a detector learned from four fifths of the rows scores every row
    higher than the detector of all rows does: 1 % of test rows were above the 95th percentile of such scores, and 4 %
    were above the 95th percentile of the scores here (caltech99, `benchmarks/outliers.py`).

    Args:
        statistics: of all training rows.
        solved: the detector's precisions, from `statistics`.
        X: the training rows (n, d), with unit-norm blocks as in `statistics`.
        codes: their classes (n,). Each class needs two rows.
    """
    rows, means, centre = statistics.rows, statistics.means()[statistics.present], statistics.centre()
    own = (np.cumsum(statistics.present) - 1)[codes]
    size = statistics.counts[codes]
    M = means - centre
    W = M @ solved.within
    G = W @ M.T
    kept = 1.0 - solved.shrinkage

    def scores(some: slice) -> NDArray[np.float64]:
        Z, k, n = X[some] - centre, own[some], size[some]
        P, forms = Z @ W.T, Z @ solved.within
        lever = forms - W[k]  # of D = Z - M[k]
        inner = np.einsum("ij,ij->i", lever, Z - M[k])
        step = kept * n / ((n - 1) * rows)  # S loses step · D Dᵀ
        grown = step / (1 - step * inner)
        nearest = np.einsum("ij,ij->i", forms, Z)[:, None] - 2 * P + np.diag(G)
        cross = np.einsum("ij,ij->i", lever, Z)[:, None] - P + G[k]
        nearest += grown[:, None] * cross**2
        nearest[np.arange(len(Z)), k] = (n / (n - 1)) ** 2 * (inner + grown * inner**2)
        spread = np.einsum("ij,ij->i", Z @ solved.total, Z)
        background = (rows / (rows - 1)) ** 2 * spread / (1 - kept / (rows - 1) * spread)
        return np.asarray(nearest.min(axis=1) - background)

    parts = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(X), ROWS_AT_ONCE)]
    return np.concatenate([np.empty(0), *map(scores, parts)])
