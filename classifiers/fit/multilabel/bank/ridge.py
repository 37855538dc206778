"""Ridge regression of all labels at once, with the penalty chosen on held-out folds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from classifiers.evaluation.label_figures import mean_average_precision

Array = NDArray[np.float32]

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Penalties that are tried. Rows have a squared norm of about 1, so a penalty of 1 counts as much as one row."""

FOLDS = 5
REPEATED = 4
"""Rows with the same set of labels are kept in one fold if the median row shares its set with fewer rows than this.
The rows are then most likely copies of one concept, such as one symbol drawn by several makers."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Ridge regressions of labels on rows for every penalty, from one eigendecomposition.

    Attributes:
        rows: Z (m, D) if Z Zᵀ was decomposed; None if Zᵀ Z was.
        vectors: the basis is Zᵀ `vectors`, or `vectors` itself: right singular vectors of Z, (m or D, r).
        squares: squared singular values, (r,).
        projected: labels projected on the basis, less their mean, (r, L).
        mean: mean of the labels, (L,).
    """

    rows: Array | None
    vectors: Array
    squares: Array
    projected: Array
    mean: Array

    @classmethod
    def of(cls, Z: Array, Y: Array) -> "Fit":
        """Decompose rows Z (m, D) with labels Y (m, L), 0 or 1. The smaller of Z Zᵀ and Zᵀ Z is decomposed."""
        small = len(Z) <= Z.shape[1]
        squares, vectors = eigh(Z @ Z.T if small else Z.T @ Z, check_finite=False, overwrite_a=True, driver="evd")
        kept = squares > max(float(squares[-1]), 0.0) * 1e-6
        squares, vectors = squares[kept], vectors[:, kept]
        mean = Y.mean(axis=0)
        if not small:
            return cls(None, vectors, squares, vectors.T @ (Z.T @ (Y - mean)), mean)
        roots = np.sqrt(squares)
        return cls(Z, vectors / roots, squares, roots[:, None] * (vectors.T @ (Y - mean)), mean)

    def weights(self, penalty: float) -> Array:
        """Return one vector for each label, (L, D)."""
        found = self.vectors @ (self.projected / (self.squares + np.float32(penalty))[:, None])
        return np.ascontiguousarray((found if self.rows is None else self.rows.T @ found).T)

    def scores(self, Z: Array, penalties: Sequence[float]) -> list[Array]:
        """Return the scores (n, L) of rows Z (n, D) for each penalty."""
        coordinates = np.asarray((Z if self.rows is None else Z @ self.rows.T) @ self.vectors, np.float32)
        return [coordinates @ (self.projected / (self.squares + np.float32(p))[:, None]) + self.mean for p in penalties]


def choose_penalty(
    Z: Array, Y: Array, folds: NDArray[np.int64], penalties: Sequence[float] = PENALTIES
) -> tuple[float, Array]:
    """Return the penalty with the highest mean average precision, and the out-of-fold scores at it, (n, L).

    Args:
        Z: rows (n, D).
        Y: 1 if a row has a label, else 0, (n, L).
        folds: number of each row's fold, (n,).
    """
    found = [np.empty_like(Y) for _ in penalties]
    for fold in np.unique(folds):
        held = folds == fold
        for place, scores in zip(found, Fit.of(Z[~held], Y[~held]).scores(Z[held], penalties), strict=True):
            place[held] = scores
    figures = [mean_average_precision(scores, Y > 0) for scores in found]
    best = int(np.argmax(figures))
    return penalties[best], found[best]


def row_folds(labels: NDArray[np.bool_], seed: int, count: int = FOLDS) -> NDArray[np.int64]:
    """Return the fold of each row, (n,) in 0…count-1, for labels (n, L). See `REPEATED` for rows that stay together."""
    _, which, sizes = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    which = which.ravel()
    if np.median(sizes[which]) >= REPEATED or len(sizes) < count:
        which = np.arange(len(labels))
    return spread(int(which.max()) + 1, seed, count)[which]


def spread(items: int, seed: int, count: int) -> NDArray[np.int64]:
    """Return the fold of each of some items, (items,): random folds of equal sizes, at most one item apart."""
    return np.random.default_rng(seed).permutation(items) % count
