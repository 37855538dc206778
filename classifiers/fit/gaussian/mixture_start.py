"""The start of a mixture head: components by k-means within each class, and their tempered Gaussians as scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

LEAST_VARIANCE = 1e-3
"""Least variance of the components, as a share of the variance within classes."""


@dataclass(frozen=True, slots=True)
class Components:
    """G spherical Gaussians for each class, all with one variance. A share of 0 marks an unused component.

    Attributes:
        means: (K, G, m).
        shares: share of the training rows in each component, (K, G); the sum of all is 1.
        variance: mean variance of a column within components.
    """

    means: NDArray[np.float64]
    shares: NDArray[np.float64]
    variance: float

    def scores(self, power: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return W (K·G, m) and b (K·G,) of the scores log share + power · log N(z; mean, variance I).

        A term that all components share is left out. The scores of unused components are -inf.

        Args:
            power: exponent of the likelihood, 0…1. A low power makes the start less certain; 0 leaves the shares.
        """
        means = self.means.reshape(-1, self.means.shape[2])
        W = power / self.variance * means
        with np.errstate(divide="ignore"):
            return W, np.log(self.shares.ravel()) - 0.5 * np.einsum("cm,cm->c", W, means)


def one_each(means: NDArray[np.float64], counts: NDArray[np.float64], variance: float) -> Components:
    """Return one component for each class, from class means (K, m), counts (K,) and the variance within classes."""
    return Components(means[:, None, :], (counts / counts.sum())[:, None], variance)


def several(Z: NDArray[np.float64], codes: NDArray[np.intp], within: float, count: int, seed: int) -> Components:
    """Return up to `count` components for each class by k-means within the class.

    A class with fewer than 2 · count rows gets fewer components, at least one.

    Args:
        Z: rows (n, m); `codes` (n,) their classes.
        within: mean variance of a column within classes.
        seed: seed of k-means++.
    """
    n_classes = int(codes.max()) + 1
    means, shares = np.zeros((n_classes, count, Z.shape[1])), np.zeros((n_classes, count))
    squares = 0.0
    for k in range(n_classes):
        rows = Z[codes == k]
        most = max(1, min(count, len(rows) // 2, len(np.unique(rows, axis=0))))
        found = KMeans(most, n_init=1, random_state=seed).fit(rows)
        means[k, :most], squares = found.cluster_centers_, squares + found.inertia_
        shares[k, :most] = np.bincount(found.labels_, minlength=most) / len(Z)
    return Components(means, shares, max(squares / Z.size, LEAST_VARIANCE * within))
