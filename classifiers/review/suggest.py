"""What to label next: rows that are typical of their surroundings, far apart, and on which a head is uncertain.

The choice is TypiClust (Hacohen, Dekel and Weinshall 2022, arXiv 2202.02794): cluster all rows, labelled ones too,
into as many clusters as there will be labels, and take the most typical row of the largest clusters without a label.
With a head, rows count by its uncertainty: a cluster by the sum over its rows, a row by uncertainty times typicality
(uncertainty is one minus the margin between the two most probable classes: Scheffer, Decomain and Wrobel 2001).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.transform import unit_rows
from classifiers.review.near import neighbours

MOST_CLUSTERS = 500
"""Maximum number of clusters, as in the paper, unless more rows are asked for."""

TYPICAL = 20
"""Number of nearest rows of its cluster whose mean cosine is a row's typicality, as in the paper."""

ITERATIONS = 10
"""Iterations of k-means. Its centres only spread the choice, so they need not converge."""


def uncertainty(proba: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one minus the margin between the two most probable classes, (n,), from probabilities (n, K)."""
    best = np.partition(proba, proba.shape[1] - 2, axis=1)[:, -2:]
    return 1 - (best[:, 1] - best[:, 0])


def label_uncertainty(proba: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how near the most uncertain label of each row is to one half, (n,) in 0…1, from probabilities (n, L)."""
    return np.asarray(1 - np.abs(2 * proba - 1).min(axis=1))


def suggested(
    X: NDArray[np.float32],
    labelled: NDArray[np.float32],
    uncertain: NDArray[np.float32],
    count: int,
    threshold: float,
    *,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the numbers of at most `count` rows of X to label, the most useful first, and the typicality of all rows.

    No two of them, and none of them and a labelled row, are near-duplicates.

    Args:
        X: directions of the candidates, float32 (n, d).
        labelled: directions of the labelled rows, (m, d); m may be 0.
        uncertain: weight of each candidate, (n,); ones without a head.
        threshold: cosine from which two vectors are near-duplicates.
        seed: seed of k-means.
    """
    both = np.concatenate([X, labelled])
    Z = unit_rows(both - both.mean(axis=0))
    clusters = min(len(Z), max(count, min(count + len(labelled), MOST_CLUSTERS)))
    code = assigned(Z, kmeans(Z, clusters, seed))
    own, known = code[: len(X)], np.bincount(code[len(X) :], minlength=clusters)
    dense = typicality(Z[: len(X)], own, clusters)
    score = uncertain * np.maximum(dense, 0)
    weight = np.bincount(own, uncertain.astype(np.float64), clusters)
    order = np.lexsort((-weight, known))
    queues = [own_rows[np.argsort(-score[own_rows], kind="stable")] for own_rows in _members(own, clusters, order)]
    return _spread(X, labelled, queues, count, threshold), dense


def _members(own: NDArray[np.int64], clusters: int, order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each cluster that has some, in the order of the clusters."""
    by_cluster = np.split(np.argsort(own, kind="stable"), np.cumsum(np.bincount(own, minlength=clusters))[:-1])
    yield from (by_cluster[cluster] for cluster in order.tolist() if len(by_cluster[cluster]))


def _spread(
    X: NDArray[np.float32],
    labelled: NDArray[np.float32],
    queues: list[NDArray[np.int64]],
    count: int,
    threshold: float,
) -> NDArray[np.int64]:
    """Take the best row of each queue in turn, but none that is a near-duplicate of a labelled or a taken row."""
    taken: list[int] = []
    places = [0] * len(queues)
    while len(taken) < count and any(place < len(queue) for place, queue in zip(places, queues, strict=True)):
        for number, queue in enumerate(queues):
            while places[number] < len(queue):
                row = int(queue[places[number]])
                places[number] += 1
                if not (_near(X[row], labelled, threshold) or _near(X[row], X[taken], threshold)):
                    taken.append(row)
                    break
            if len(taken) == count:
                break
    return np.array(taken, np.int64)


def _near(x: NDArray[np.float32], others: NDArray[np.float32], threshold: float) -> bool:
    return bool(len(others)) and bool((others @ x).max() >= threshold)


def typicality(Z: NDArray[np.float32], code: NDArray[np.int64], clusters: int) -> NDArray[np.float32]:
    """Return the mean cosine of each row of Z (n, d) with its `TYPICAL` nearest rows of its cluster, (n,); alone: 0."""
    found = np.zeros(len(Z), np.float32)
    for rows in _members(code, clusters, np.arange(clusters)):
        if len(rows) > 1:
            found[rows] = neighbours(Z[rows], np.arange(len(rows)), TYPICAL).mean(axis=1)
    return found


def kmeans(Z: NDArray[np.float32], clusters: int, seed: int) -> NDArray[np.float32]:
    """Return centres of the directions Z (n, d) by k-means on the sphere, float32 (k, d), seeded by k-means++.

    The first centres are drawn one by one, each with a probability in proportion to the distance from the centres so
    far (Arthur and Vassilvitskii 2007). A centre that loses all its rows stays where it is.
    """
    rng = np.random.default_rng(seed)
    centres = np.empty((clusters, Z.shape[1]), np.float32)
    far = np.ones(len(Z))
    for number in range(clusters):
        total = far.sum()
        row = rng.choice(len(Z), p=far / total) if total > 0 else rng.integers(len(Z))
        centres[number] = Z[row]
        far = np.minimum(far, np.maximum(1 - Z @ Z[row], 0))
    for _ in range(ITERATIONS):
        code = assigned(Z, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, code, Z)
        filled = np.bincount(code, minlength=clusters) > 0
        centres[filled] = unit_rows(sums[filled])
    return centres


def assigned(Z: NDArray[np.float32], centres: NDArray[np.float32], rows: int = 4096) -> NDArray[np.int64]:
    """Return the number of the nearest centre (k, d) of each row of Z (n, d), (n,)."""
    parts = [np.empty(0, np.int64)]
    parts += [(Z[start : start + rows] @ centres.T).argmax(axis=1) for start in range(0, len(Z), rows)]
    return np.concatenate(parts)
