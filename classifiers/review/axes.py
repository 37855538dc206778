"""The two axes of a map of vectors: principal components, discriminant directions, or UMAP.

The axes are those of directions: each vector is set to unit norm first, as in a search.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.gaussian.covariance import oas_shrinkage, shrunk
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import unit_rows

SPARE = 10
"""Directions that the iteration follows besides those that are asked for, so that these converge faster."""

STEPS = 5
"""Steps of the iteration. The error falls by the ratio of the next variance to the wanted one, squared, in each."""

LEAST_SHARE = 1e-9
"""Directions with less than this share of the variance between the classes are rounding errors."""

Times = Callable[[NDArray[Any]], NDArray[Any]]
"""Q (d, k) → C Q (d, k), for a covariance C (d, d)."""


@dataclass(frozen=True, slots=True)
class Axes:
    """A linear map of directions to coordinates.

    Attributes:
        centre: mean of the rows that the axes were made from, float32 (d,).
        directions: float32 (d, k).
        explained: PCA: share of the variance of the rows along each axis. LDA: share of the variance between the
            classes; 0 for an axis that does not separate them.
    """

    centre: NDArray[np.float32]
    directions: NDArray[np.float32]
    explained: tuple[float, ...]

    def __call__(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the coordinates of the rows of X (n, d), float32 (n, k)."""
        return np.asarray(unit_rows(X) @ self.directions - self.centre @ self.directions)


def principal_axes(X: NDArray[np.float32], count: int = 2) -> Axes:
    """Return the `count` directions of largest variance of the rows of X (n, d), largest first.

    They are found by subspace iteration (Halko, Martinsson and Tropp 2011, arXiv 0909.4061, algorithm 4.4), because the
    covariance of 1280 columns takes a hundred times as long. Axes beyond the rank of the rows are 0.
    """
    Z = unit_rows(X)
    dim = Z.shape[1]
    if not len(Z):
        return Axes(np.zeros(dim, np.float32), np.zeros((dim, count), np.float32), (0.0,) * count)
    centre = Z.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = float(np.einsum("ij,ij->", Z, Z, dtype=np.float64))
    total = squares / len(Z) - float(centre.astype(np.float64) @ centre)

    def times(Q: NDArray[Any]) -> NDArray[Any]:
        Y = Z @ Q - centre @ Q
        return np.asarray((Z.T @ Y - np.outer(centre, Y.sum(axis=0))) / len(Z))

    directions, variances = leading(times, dim, count, np.float32)
    shares = np.minimum(variances / total, 1.0) if total > LEAST_SHARE else np.zeros(count)
    return Axes(centre, directions.astype(np.float32), tuple(shares.tolist()))


def discriminant_axes(statistics: GaussianStatistics) -> Axes:
    """Return the two directions that separate the classes best (Fisher's discriminant), best first.

    The pooled covariance is shrunk by `oas_shrinkage`, and the axes are scaled so that the rows of a class have about
    unit variance. Two classes have one such direction, one class has none: the axes that are left are principal
    components of what the others do not show.

    Args:
        statistics: those of `unit_rows` of at least one row, with the "shared" second moment.
    """
    within, centre = statistics.covariance(), statistics.centre()
    spread = shrunk(within, oas_shrinkage(within, statistics.rows)) if within.any() else np.eye(len(within))
    root = np.linalg.cholesky(spread)
    weights = np.sqrt(statistics.counts / statistics.rows)[statistics.present]
    between = (statistics.means()[statistics.present] - centre) * weights[:, None]
    U, singular, _ = np.linalg.svd(np.linalg.solve(root, between.T), full_matrices=False)
    power = singular**2
    real = np.count_nonzero(power[:2] > LEAST_SHARE * max(1.0, power.sum()))
    directions = np.linalg.solve(root.T, U[:, :real])
    explained = (power[:real] / power.sum()).tolist() if real else []
    total = statistics.total_covariance()
    while directions.shape[1] < 2:
        directions = np.column_stack([directions, _residual(total, directions, spread)])
        explained.append(0.0)
    return Axes(centre.astype(np.float32), _signed(directions).astype(np.float32), tuple(explained))


def _residual(total: NDArray[Any], directions: NDArray[Any], spread: NDArray[Any]) -> NDArray[Any]:
    """Return the first principal component (d,) of rows with covariance `total` without what `directions` show."""
    Q = np.linalg.qr(directions)[0]

    def without(V: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(V - Q @ (Q.T @ V))

    found, _ = leading(lambda V: without(total @ without(V)), len(total), 1, np.float64)
    scale = np.sqrt(np.einsum("ik,ij,jk->k", found, spread, found, optimize=True))
    return np.asarray(found / np.where(scale > 0, scale, 1.0))


def leading(times: Times, dim: int, count: int, dtype: type[np.floating[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the `count` eigenvectors (d, count) of a covariance with the largest eigenvalues, and these (count,).

    Each has length one, and its entry of largest magnitude is positive. Those beyond the rank of the covariance are 0.
    """
    width = min(count + SPARE, dim)
    Q: NDArray[Any] = np.random.default_rng(0).standard_normal((dim, width)).astype(dtype)
    for _ in range(STEPS):
        Q = np.linalg.qr(Q)[0]
        Q = times(Q)
    Q = np.linalg.qr(Q)[0]
    small = Q.T.astype(np.float64) @ times(Q)
    values, vectors = np.linalg.eigh((small + small.T) / 2)
    values, vectors = np.maximum(values[::-1][:count], 0.0), vectors[:, ::-1][:, :count]
    found = np.where(values > np.finfo(dtype).eps * max(values.sum(), 1e-30), Q @ vectors, 0.0)
    missing = count - found.shape[1]
    return np.pad(_signed(found), ((0, 0), (0, missing))), np.pad(values, (0, missing))


def _signed(directions: NDArray[Any]) -> NDArray[Any]:
    """Return directions (d, k), some turned round, so that the entry of largest magnitude of each is positive."""
    rows = np.abs(directions).argmax(axis=0)
    return directions * np.where(directions[rows, np.arange(directions.shape[1])] < 0, -1, 1)


def has_umap() -> bool:
    """Return True if the package `umap` is installed."""
    return importlib.util.find_spec("umap") is not None


def umap_points(reduced: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Return the coordinates (n, 2) that UMAP finds for the rows of `reduced` (n, k). Takes minutes for many rows.

    McInnes, Healy and Melville 2018, arXiv 1802.03426. Fewer than four rows have no neighbourhoods: they keep their
    first two columns.
    """
    if len(reduced) < 4:
        return np.ascontiguousarray(reduced[:, :2])
    umap = importlib.import_module("umap")
    made = umap.UMAP(n_components=2, n_neighbors=min(15, len(reduced) - 1), random_state=seed, n_jobs=1)
    return np.asarray(made.fit_transform(reduced), np.float32)
