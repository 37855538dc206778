"""How much to shrink a covariance, chosen on validation rows from the statistics alone."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from classifiers.calibration import fit_temperature, mean_nll
from classifiers.heads.gaussian import Priors, log_priors, shrunk_covariance
from classifiers.heads.statistics import GaussianStatistics, oas_shrinkage

CANDIDATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Tried beside the OAS value, which assumes Gaussian rows; vectors of networks have heavier tails and want more."""


def choose_shrinkage(
    statistics: GaussianStatistics, priors: Priors, X: NDArray[np.float32], codes: NDArray[np.int64]
) -> float:
    """The shrinkage with the least NLL on validation rows X (n, d), codes (n,), each at its own best temperature."""
    centre = statistics.centre()
    means = np.where(statistics.present[:, None], statistics.means() - centre, 0.0)
    log_pi = log_priors(statistics.counts, priors)
    Z = X - centre.astype(np.float32)

    def loss(shrinkage: float) -> float:
        covariance, _ = shrunk_covariance(statistics, shrinkage)
        weights = solve(covariance, means.T, assume_a="pos", overwrite_a=True)
        scores = Z @ weights.astype(np.float32) + (log_pi - 0.5 * np.sum(means.T * weights, axis=0))
        return mean_nll(scores, codes, fit_temperature(scores, codes))

    return min((oas_shrinkage(statistics.covariance(), statistics.rows), *CANDIDATES), key=loss)
