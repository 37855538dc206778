"""Spherical k-means for the centres of pseudo-labels (MLCD, arXiv 2407.17331, §3.1): faiss, or torch on a CUDA card."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.clusters import CELLS, centred, nearest
from classifiers.errors import NotTrainable
from classifiers.fit.device import on_device
from classifiers.heads.transform import unit_rows

OnIteration = Callable[[int, int], None]
"""Called after each iteration of k-means with (done, total)."""

ITERATIONS = 25
MOST_PER_CENTRE = 256
"""Maximum number of rows for each centre. More rows make no better centres (faiss's own figure)."""
FEW_PER_CENTRE = 39
"""With fewer rows for each centre, faiss prints a warning. Here a note is enough, because MLCD does best with small
clusters (about four images each on ImageNet)."""
ALIKE = 0.98
"""Centres with a greater cosine are merged. The paper does not mention duplicates; this is our choice."""
MOST_FROM_A_QUARTER = 4096
"""Maximum of the quarter in `adapter_clusters`, because the time of k-means grows with rows × clusters."""


def default_clusters(rows: int, labels: int) -> int:
    """Return the default number of clusters: a fiftieth of the training `rows`.

    It is at least twice the number of `labels` of each row, or half of the rows where that is fewer, and at least 2.
    """
    return max(rows // 50, min(2 * labels, rows // 2), 2)


def adapter_clusters(rows: int, labels: int) -> int:
    """Return the default number of clusters for an adapter: a quarter of the training `rows`, at most 4,096.

    A quarter did best for the paper on ImageNet. The number is never less than `default_clusters`: above 204,800 rows,
    it is a fiftieth of them.
    """
    return max(min(rows // 4, MOST_FROM_A_QUARTER), default_clusters(rows, labels))


def fit_centres(
    X: NDArray[np.float32],
    clusters: int,
    *,
    seed: int = 0,
    on_iteration: OnIteration = lambda *_: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Learn centres of raw vectors X (n, d) on unit(unit(x) − mean).

    Nearly equal centres are merged, and centres that are nearest to no row are removed. The same rows and seed give the
    same centres. k-means runs on a CUDA card if there is one and the work is worth it, see `classifiers.fit.device`.

    Returns:
        mean (d,), and centres (k, d) of length one, k ≤ `clusters`. Each is the nearest centre of at least one row.

    Raises NotTrainable for fewer than 2 clusters or more clusters than rows.
    """
    if not 2 <= clusters <= len(X):
        raise NotTrainable(f"{clusters} clusters cannot be made of {len(X)} rows; ask for 2 to {len(X)}")
    mean = mean_direction(X)
    Z = centred(X, mean)
    operations = 2.0 * Z.size * clusters * ITERATIONS
    return mean, on_device(lambda device: _ROUTES[device](Z, clusters, seed, on_iteration), operations)


def mean_direction(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the rows of X (n, d) after scaling each to unit norm, (d,)."""
    rows = max(1, CELLS // X.shape[1])
    sums = [unit_rows(X[start : start + rows]).sum(axis=0, dtype=np.float64) for start in range(0, len(X), rows)]
    return np.asarray(np.sum(sums, axis=0) / len(X), np.float32)


def _by_faiss(Z: NDArray[np.float32], clusters: int, seed: int, on_iteration: OnIteration) -> NDArray[np.float32]:
    """Return the tidied centres of rows Z (n, d), computed on the CPU."""
    return tidy(Z, _kmeans(Z, clusters, seed, on_iteration))


def _by_torch(Z: NDArray[np.float32], clusters: int, seed: int, on_iteration: OnIteration) -> NDArray[np.float32]:
    """Return the tidied centres of rows Z (n, d), computed on a CUDA card."""
    import torch

    from classifiers.clustering import kmeans_torch

    cuda = torch.device("cuda")
    centres = kmeans_torch.kmeans(
        Z, clusters, seed, on_iteration, iterations=ITERATIONS, most_per_centre=MOST_PER_CENTRE, device=cuda
    )
    points = kmeans_torch.Points(Z, cuda)
    return tidy(Z, centres, lambda _, centres: points.codes(centres))


_ROUTES = {"cpu": _by_faiss, "cuda": _by_torch}


def _kmeans(Z: NDArray[np.float32], clusters: int, seed: int, on_iteration: OnIteration) -> NDArray[np.float32]:
    """Run k-means one iteration at a time, to show progress. The centres equal those of one long run."""
    import faiss

    kmeans = faiss.Kmeans(
        Z.shape[1],
        clusters,
        niter=1,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,  # stops faiss from printing its warning, see FEW_PER_CENTRE
        max_points_per_centroid=MOST_PER_CENTRE,
    )
    for done in range(1, ITERATIONS + 1):
        kmeans.train(Z, init_centroids=kmeans.centroids)
        on_iteration(done, ITERATIONS)
    return unit_rows(np.asarray(kmeans.centroids, np.float32))


def _codes(Z: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    return nearest(Z, centres, 1)[0][:, 0]


def tidy(
    Z: NDArray[np.float32],
    centres: NDArray[np.float32],
    codes_of: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.int64]] = _codes,
) -> NDArray[np.float32]:
    """Remove centres (k, d) that are nearest to no row of Z (n, d), and merge nearly equal centres.

    Args:
        codes_of: rows and centres → the number of the nearest centre of each row, (n,).
    """
    while True:
        sizes = np.bincount(codes_of(Z, centres), minlength=len(centres))
        fewer = merge_alike(centres[sizes > 0], sizes[sizes > 0])
        if len(fewer) == len(centres):
            return centres
        centres = fewer


def merge_alike(centres: NDArray[np.float32], sizes: NDArray[np.integer]) -> NDArray[np.float32]:
    """Merge centres (k, d) whose cosine is above `ALIKE` into their mean direction, weighted by `sizes` (k,).

    Larger clusters absorb smaller ones. The remaining centres keep their order.
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
    """Return {centre: the other centres with a cosine above `ALIKE`}, for centres that have any."""
    found: dict[int, list[int]] = {}
    rows = max(1, CELLS // len(centres))
    for start in range(0, len(centres), rows):
        i, j = np.nonzero(centres[start : start + rows] @ centres.T > ALIKE)
        for a, b in zip((i + start).tolist(), j.tolist(), strict=True):
            if a != b:
                found.setdefault(a, []).append(b)
    return found
