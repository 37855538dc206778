"""Spherical k-means with faiss: centres for pseudo-labels (MLCD, arXiv 2407.17331, §3.1)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.clusters import CELLS, centred, nearest
from classifiers.errors import NotTrainable
from classifiers.heads.transform import unit_rows

ITERATIONS = 25
MOST_PER_CENTRE = 256
"""More rows a centre than this make no better centres (faiss's own figure)."""
FEW_PER_CENTRE = 39
"""With fewer rows a centre faiss warns. Here it is only told: pseudo-labels of few rows are what MLCD wants (about
four images a cluster did best on ImageNet)."""
ALIKE = 0.98
"""Centres with a greater cosine are one (a choice of ours: the paper leaves duplicates open)."""
MOST_BY_DEFAULT = 4096


def default_clusters(rows: int, labels: int) -> int:
    """How many clusters, where nobody says: rows / 50, but enough for `labels` a row to tell rows apart."""
    return max(rows // 50, min(2 * labels, rows // 2), 2)


def adapter_clusters(rows: int, labels: int) -> int:
    """How many clusters to adapt with, where nobody says: rows / 4, as did best for the paper on ImageNet.

    k-means costs rows × clusters, hence at most `MOST_BY_DEFAULT`, or `default_clusters` where that is more.
    """
    return max(min(rows // 4, MOST_BY_DEFAULT), default_clusters(rows, labels))


def fit_centres(
    X: NDArray[np.float32],
    clusters: int,
    *,
    seed: int = 0,
    on_iteration: Callable[[int, int], None] = lambda *_: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres of raw vectors X (n, d), learned on unit(unit(x) − mean): (mean (d,), centres (k, d) of length one).

    k is less than `clusters` where centres were alike and became one, or no row was nearest to one. Every centre is
    the nearest of at least one row. The same rows and seed give the same centres.

    Raises NotTrainable for fewer than 2 clusters or more clusters than rows.
    """
    if not 2 <= clusters <= len(X):
        raise NotTrainable(f"{clusters} clusters asked of {len(X)} rows; ask for 2 to {len(X)}")
    mean = _mean_direction(X)
    Z = centred(X, mean)
    return mean, tidy(Z, _kmeans(Z, clusters, seed, on_iteration))


def _mean_direction(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the rows of X (n, d), each at unit norm: (d,)."""
    rows = max(1, CELLS // X.shape[1])
    sums = [unit_rows(X[start : start + rows]).sum(axis=0, dtype=np.float64) for start in range(0, len(X), rows)]
    return np.asarray(np.sum(sums, axis=0) / len(X), np.float32)


def _kmeans(
    Z: NDArray[np.float32], clusters: int, seed: int, on_iteration: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """One iteration a call, which gives the same centres as all in one, and a chance to show progress."""
    import faiss

    kmeans = faiss.Kmeans(
        Z.shape[1],
        clusters,
        niter=1,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,  # keeps faiss from printing its advice; see FEW_PER_CENTRE
        max_points_per_centroid=MOST_PER_CENTRE,
    )
    for done in range(1, ITERATIONS + 1):
        kmeans.train(Z, init_centroids=kmeans.centroids)
        on_iteration(done, ITERATIONS)
    return unit_rows(np.asarray(kmeans.centroids, np.float32))


def tidy(Z: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centres (k, d) for the rows of Z (n, d), without any that no row is nearest to and without any two alike."""
    while True:
        sizes = np.bincount(nearest(Z, centres, 1)[0][:, 0], minlength=len(centres))
        fewer = merge_alike(centres[sizes > 0], sizes[sizes > 0])
        if len(fewer) == len(centres):
            return centres
        centres = fewer


def merge_alike(centres: NDArray[np.float32], sizes: NDArray[np.integer]) -> NDArray[np.float32]:
    """Centres (k, d) with those whose cosine is above `ALIKE` made one, at their mean direction weighted by `sizes`.

    Larger clusters come first and take in those that are like them. What is left keeps its order.
    """
    group = np.arange(len(centres))
    taken = np.zeros(len(centres), np.bool_)
    like = _alike(centres)
    for i in np.argsort(-sizes, kind="stable").tolist():
        if not taken[i] and i in like:
            others = [j for j in like[i] if not taken[j]]
            group[others] = i
            taken[[i, *others]] = True
    sums = np.zeros(centres.shape, np.float64)
    np.add.at(sums, group, centres * sizes[:, None])
    return unit_rows(sums[np.unique(group)].astype(np.float32)) if taken.any() else centres


def _alike(centres: NDArray[np.float32]) -> dict[int, list[int]]:
    """{centre: the other centres with a cosine above `ALIKE`}, of those that have any."""
    found: dict[int, list[int]] = {}
    rows = max(1, CELLS // len(centres))
    for start in range(0, len(centres), rows):
        i, j = np.nonzero(centres[start : start + rows] @ centres.T > ALIKE)
        for a, b in zip((i + start).tolist(), j.tolist(), strict=True):
            if a != b:
                found.setdefault(a, []).append(b)
    return found
