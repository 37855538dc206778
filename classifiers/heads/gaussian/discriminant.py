"""Discriminant functions of Gaussian classes, in closed form from their statistics."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.heads.gaussian.covariance import (
    Covariance,
    Precisions,
    Shrinkage,
    Spectra,
    class_precisions,
    class_spectra,
    full_precisions,
    mean_variance,
    shrunk_covariance,
)
from classifiers.heads.gaussian.quadratic import Quadratic
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.gaussian.triangle import solved_above, solved_below

Priors = Literal["empirical", "uniform"] | tuple[float, ...]
"""Class priors: "empirical" for each class's share of the rows, "uniform", or the probabilities, (K,)."""

TIED = ("tied", "tied-diag", "tied-spherical")


@dataclass(frozen=True, slots=True)
class GaussianModel:
    """Hyper-parameters of a Gaussian head.

    Attributes:
        covariance: one for all classes ("tied…") or one per class; full, diagonal ("diag"), or one variance for all
            columns ("spherical").
        shrinkage: λ in 0…1 towards (tr C / d) I, or "oas". It has no effect on spherical covariances.
        pooling: share of the pooled covariance in each class's covariance, 0…1. It has no effect on tied covariances.
        correlation: True for correlation matrices in place of "tied" and "full" covariances, and the Mahalanobis
            distance alone as the score, as in FeCAM (arXiv 2309.14062).
        priors: class priors.
    """

    covariance: Covariance = "tied"
    shrinkage: Shrinkage = "oas"
    pooling: float = 0.0
    correlation: bool = False
    priors: Priors = "empirical"


@dataclass(frozen=True, slots=True)
class Discriminant:
    """A Gaussian model folded for scoring, float64.

    Attributes:
        scores: functions of z - centre, one component a class; for tied covariances, functions of z. They are -inf for
            classes without rows.
        centre: mean of all rows, (d,).
        factor: for tied covariances C = L Lᵀ, the lower triangular L (d, d), or the deviations (d,) of a diagonal C.
            None for other covariances, and for correlations, which give no density.
        shrinkage: λ that was used: one number, or one per class.
    """

    scores: Quadratic
    centre: NDArray[np.float64]
    factor: NDArray[np.float64] | None
    shrinkage: float | list[float]


def discriminant(statistics: GaussianStatistics, model: GaussianModel, spectra: Spectra | None = None) -> Discriminant:
    """Return the discriminant functions of Gaussian classes.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, section 4.3.

    Args:
        spectra: spectra of "full" covariances, if they were computed before.

    Raises:
        NotTrainable: no rows, no within-class scatter, or a singular covariance (with a small `shrinkage`).
    """
    if model.covariance in TIED:
        return tied_discriminant(statistics, model)
    if model.covariance == "full":
        precisions = full_precisions(spectra or class_spectra(statistics, model.pooling), model.shrinkage)
    else:
        precisions = class_precisions(statistics, model.covariance, model.shrinkage, model.pooling)
    centre = statistics.centre()
    log_pi = log_priors(statistics.counts, model.priors)
    constants = log_pi - 0.5 * (precisions.log_det + statistics.dim * np.log(2 * np.pi))
    if model.correlation:
        precisions, constants = correlated(precisions, mean_variance(statistics.covariance())), log_pi
    means = np.where(statistics.present[:, None], statistics.means() - centre, 0.0)
    scores = Quadratic.of_precisions(constants, means, precisions.diagonal, precisions.F)
    return Discriminant(scores, centre, None, precisions.shrinkage.tolist())


def tied_discriminant(statistics: GaussianStatistics, model: GaussianModel) -> Discriminant:
    """Return `discriminant` for tied covariances, which is linear in z.

    All classes share the precision P = L⁻ᵀ L⁻¹, so the quadratic term in z cancels. The means are centred: that
    subtracts the same term from all scores, which cancels in the softmax, and keeps the scores small, hence exact in
    float32.
    """
    covariance, used = shrunk_covariance(statistics, model.shrinkage)
    if model.covariance == "tied-spherical":
        covariance = np.full(statistics.dim, covariance.mean())
    factor = factor_of(covariance, statistics, used)
    centre = statistics.centre()
    means = np.where(statistics.present[:, None], statistics.means() - centre, 0.0)
    scale = np.sqrt(np.diag(covariance) / mean_variance(covariance)) if model.correlation else 1.0
    if factor.ndim == 2:
        whitened = solved_below(factor, (means * scale).T).T
        W = solved_above(factor, whitened.T).T * scale
    else:
        whitened = means / factor
        W = whitened / factor
    b = log_priors(statistics.counts, model.priors) - 0.5 * np.sum(whitened**2, axis=1) - W @ centre
    return Discriminant(Quadratic(b, W), centre, None if model.correlation else factor, used)


def factor_of(covariance: NDArray[np.float64], statistics: GaussianStatistics, used: float) -> NDArray[np.float64]:
    """Return the lower triangular L with C = L Lᵀ, or √v of a diagonal v. Raises NotTrainable if C is singular."""
    try:
        if covariance.ndim == 2:
            return np.asarray(np.linalg.cholesky(covariance))
        if covariance.min() > 0:
            return np.asarray(np.sqrt(covariance))
    except np.linalg.LinAlgError:
        pass
    raise singular_pooled(statistics, used)


def singular_pooled(statistics: GaussianStatistics, used: float) -> NotTrainable:
    """Return the error for a singular covariance of all classes."""
    return NotTrainable(
        f"the covariance of {statistics.rows:g} rows in {statistics.dim} dimensions is singular with "
        f"shrinkage {used:g}; use shrinkage='oas' or a larger one"
    )


def correlated(precisions: Precisions, variance: float) -> Precisions:
    """Return the inverse correlation matrices D½ P D½ / `variance`, with D the diagonal of the covariance.

    One scale for all classes keeps distances about as large as with covariances, and changes no order among them.
    """
    F, diagonal = precisions.F, precisions.diagonal
    if F is None:
        raise ValueError("a diagonal covariance has no correlations; use a full one")
    deviations = np.sqrt(diagonal_of_inverse(F, diagonal) / variance)
    scaled = None if diagonal is None else diagonal * deviations**2
    return Precisions(precisions.log_det, scaled, F * deviations[:, None, :], precisions.shrinkage)


def diagonal_of_inverse(F: NDArray[np.float64], floor: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the diagonals (K, d) of (Fᵀ F)⁻¹ for square F, or of (floor I - Fᵀ F)⁻¹ for orthogonal rows of F."""
    power = np.einsum("krd,krd->kr", F, F)
    directions = F**2 / np.where(power > 0, power, 1.0)[:, :, None]  # the eigenvectors' squared entries
    if floor is None:
        return np.asarray(np.einsum("krd,kr->kd", directions, 1.0 / power))
    return np.asarray(1.0 / floor + np.einsum("krd,kr->kd", directions, 1.0 / (floor - power) - 1.0 / floor))


def log_priors(counts: NDArray[np.float64], priors: Priors) -> NDArray[np.float64]:
    """Return log π_k, (K,). Classes without rows get -inf; the priors of all others are scaled to sum to 1."""
    given = {"empirical": counts, "uniform": np.ones(len(counts))}.get(priors) if isinstance(priors, str) else priors
    weights = np.where(counts > 0, np.asarray(given, dtype=np.float64), 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights / weights.sum()))
