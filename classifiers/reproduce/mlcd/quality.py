"""How good clusters are: agreement with labels, removed centres, and how different the centres of one row are."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from classifiers.clustering.agreement import agreement
from classifiers.clustering.clusters import Clustering
from classifiers.reproduce.mlcd.rows import Learning, Parts


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of one clustering.

    Attributes:
        asked, found: number of clusters that k-means made, and of those that are neither empty nor near-duplicates.
        rows: number of rows per cluster.
        nmi, ari, purity: agreement with the classes of labelled training rows: normalised mutual information, adjusted
            Rand index, share of rows whose class is the commonest of their cluster. NaN for rows without one class.
        nearest: l, for the next figure.
        together: mean cosine between two of the l nearest centres of a row; NaN for l < 2.
        apart: mean cosine between any two centres.
    """

    asked: int
    found: int
    rows: float
    nmi: float
    ari: float
    purity: float
    nearest: int
    together: float
    apart: float


def quality(learning: Learning, parts: Parts, clusters: int, nearest: int, seed: int) -> Quality:
    """Return the quality of the clusters of `learning`; the training rows of `parts` are only compared with them."""
    made = learning.clustering(clusters, seed)
    nmi, ari, purity = _agreement(made, parts) if parts.exclusive else (math.nan,) * 3
    near = made.assign(learning.X, min(nearest, len(made)))[0]
    return Quality(
        asked=clusters,
        found=len(made),
        rows=len(learning.X) / len(made),
        nmi=nmi,
        ari=ari,
        purity=purity,
        nearest=near.shape[1],
        together=cosine_together(made, near),
        apart=_mean_between(len(made), float((made.centres.sum(axis=0, dtype=np.float64) ** 2).sum())),
    )


def _agreement(made: Clustering, parts: Parts) -> tuple[float, float, float]:
    """Return NMI, ARI and purity of the clusters of the training rows."""
    codes = made.assign(parts.train.X, 1)[0][:, 0]
    found = agreement(codes, parts.train.truth, len(made), len(parts.classes))
    return found.nmi, float(adjusted_rand_score(parts.train.truth, codes)), found.purity


def cosine_together(made: Clustering, near: NDArray[np.int64]) -> float:
    """Return the mean cosine between two different centres of the same row, for centres `near` (n, l)."""
    sums = made.centres[near].sum(axis=1, dtype=np.float64)
    return _mean_between(near.shape[1], float((sums**2).sum(axis=1).mean()))


def _mean_between(count: int, square: float) -> float:
    """Return the mean product of two different ones of `count` unit vectors; their sum has the squared norm `square`.

    ‖Σ w‖² = count + Σ_{i ≠ j} w_i·w_j.
    """
    return (square - count) / (count * (count - 1)) if count > 1 else float("nan")
