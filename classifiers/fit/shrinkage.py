"""How much to shrink a covariance, chosen on validation rows from the statistics alone."""

import numpy as np
from numpy.typing import NDArray

from classifiers.calibration import fit_temperature, mean_nll
from classifiers.heads.gaussian import Priors, log_priors
from classifiers.heads.statistics import GaussianStatistics, oas_shrinkage

CANDIDATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Tried beside the OAS value, which assumes Gaussian rows; vectors of networks have heavier tails and want more."""


def choose_shrinkage(
    statistics: GaussianStatistics, priors: Priors, X: NDArray[np.float32], codes: NDArray[np.int64]
) -> float:
    """The shrinkage with the least NLL on validation rows X (n, d), codes (n,), each at its own best temperature.

    One eigendecomposition C = U diag(e) Uᵀ serves every candidate: (1 - λ) C + λ (tr C / d) I has the same U.
    """
    covariance, centre = statistics.covariance(), statistics.centre()
    e, U = np.linalg.eigh(covariance)
    Z = (X - centre) @ U
    means = np.where(statistics.present[:, None], statistics.means() - centre, 0.0) @ U
    log_pi = log_priors(statistics.counts, priors)

    def loss(shrinkage: float) -> float:
        variances = (1 - shrinkage) * np.maximum(e, 0.0) + shrinkage * e.mean()
        weighted = means / variances
        scores = Z @ weighted.T + (log_pi - 0.5 * np.sum(means * weighted, axis=1))
        return mean_nll(scores, codes, fit_temperature(scores, codes))

    return min((oas_shrinkage(covariance, statistics.rows), *CANDIDATES), key=loss)
