"""From the statistics of Gaussian classes to the functions that score them, in closed form."""

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
from classifiers.heads.gaussian.triangle import inverse_of_triangle

Priors = Literal["empirical", "uniform"] | tuple[float, ...]
"""The classes' shares of the rows, the same for every class with rows, or the probabilities themselves, (K,)."""

TIED = ("tied", "tied-diag", "tied-spherical")


@dataclass(frozen=True, slots=True)
class GaussianModel:
    """How a Gaussian head follows from its statistics.

    Attributes:
        covariance: of the classes: one for all ("tied…") or each its own; whole, diagonal ("diag") or one variance
            ("spherical").
        shrinkage: λ in 0…1 towards (tr C / d) I, or "oas". Of no effect on spherical covariances.
        pooling: share of the pooled covariance in those of the classes, 0…1. Of no effect on tied ones.
        correlation: "tied" and "full" covariances are divided by their standard deviations, and the Mahalanobis
            distance alone is the score, as FeCAM has it (arXiv 2309.14062).
    """

    covariance: Covariance = "tied"
    shrinkage: Shrinkage = "oas"
    pooling: float = 0.0
    correlation: bool = False
    priors: Priors = "empirical"


@dataclass(frozen=True, slots=True)
class Discriminant:
    """The Gaussian model folded for scoring, float64.

    Attributes:
        scores: of z - centre, one component a class; of z itself for tied covariances. -inf for classes without rows.
        centre: mean of all rows, (d,).
        whitening: for tied covariances, A (d, d) or (d,): rows of (z - centre) A have the identity as within-class
            covariance. None for others, and for correlations, which are no densities.
        shrinkage: λ that was used; one number, or one a class.
    """

    scores: Quadratic
    centre: NDArray[np.float64]
    whitening: NDArray[np.float64] | None
    shrinkage: float | list[float]


def discriminant(statistics: GaussianStatistics, model: GaussianModel, spectra: Spectra | None = None) -> Discriminant:
    """Discriminant functions of Gaussian classes. Hastie, Tibshirani, Friedman: Elements of Statistical Learning, 4.3.

    Args:
        spectra: of "full" covariances, where they are known already.

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
    """As `discriminant`, linear: with one precision P = A Aᵀ for all classes, what is quadratic in z is common to them.

    Centring all means takes the same term from every score (the softmax does not see it) and keeps the scores small,
    hence exact in float32.
    """
    covariance, used = shrunk_covariance(statistics, model.shrinkage)
    if model.covariance == "tied-spherical":
        covariance = np.full(statistics.dim, covariance.mean())
    whitening = whitening_of(covariance, statistics, used)
    centre = statistics.centre()
    means = np.where(statistics.present[:, None], statistics.means() - centre, 0.0)
    if model.correlation:
        deviations = np.sqrt(np.diag(covariance) / mean_variance(covariance))
        whitened = (means * deviations) @ whitening
        W = whitened @ whitening.T * deviations
    else:
        whitened = means @ whitening if whitening.ndim == 2 else means * whitening
        W = whitened @ whitening.T if whitening.ndim == 2 else whitened * whitening
    b = log_priors(statistics.counts, model.priors) - 0.5 * np.sum(whitened**2, axis=1) - W @ centre
    return Discriminant(Quadratic(b, W), centre, None if model.correlation else whitening, used)


def whitening_of(covariance: NDArray[np.float64], statistics: GaussianStatistics, used: float) -> NDArray[np.float64]:
    """A with C⁻¹ = A Aᵀ, upper triangular; 1 / √v of a diagonal v. Raises NotTrainable."""
    try:
        if covariance.ndim == 2:
            return inverse_of_triangle(np.linalg.cholesky(covariance)).T
        if covariance.min() > 0:
            return np.asarray(1.0 / np.sqrt(covariance))
    except np.linalg.LinAlgError:
        pass
    raise NotTrainable(
        f"the covariance of {statistics.rows:g} rows in {statistics.dim} dimensions is singular with "
        f"shrinkage {used:g}; use shrinkage='oas' or a larger one"
    )


def correlated(precisions: Precisions, variance: float) -> Precisions:
    """Inverses of the correlation matrices instead: D½ P D½ with D the diagonal of the covariance, over `variance`.

    One scale for all classes, so that distances are about as large as with covariances and no order among them changes.
    """
    F, diagonal = precisions.F, precisions.diagonal
    if F is None:
        raise ValueError("a diagonal covariance has no correlation")
    deviations = np.sqrt(diagonal_of_inverse(F, diagonal) / variance)
    scaled = None if diagonal is None else diagonal * deviations**2
    return Precisions(precisions.log_det, scaled, F * deviations[:, None, :], precisions.shrinkage)


def diagonal_of_inverse(F: NDArray[np.float64], floor: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """The diagonals (K, d) of (Fᵀ F)⁻¹ for square F, or of (floor I - Fᵀ F)⁻¹ for orthogonal rows of F."""
    power = np.einsum("krd,krd->kr", F, F)
    directions = F**2 / np.where(power > 0, power, 1.0)[:, :, None]  # squares of the eigenvectors
    if floor is None:
        return np.asarray(np.einsum("krd,kr->kd", directions, 1.0 / power))
    return np.asarray(1.0 / floor + np.einsum("krd,kr->kd", directions, 1.0 / (floor - power) - 1.0 / floor))


def log_priors(counts: NDArray[np.float64], priors: Priors) -> NDArray[np.float64]:
    """log π_k, (K,); -inf for classes without rows, which takes their share from `priors` given as numbers."""
    given = {"empirical": counts, "uniform": np.ones(len(counts))}.get(priors) if isinstance(priors, str) else priors
    weights = np.where(counts > 0, np.asarray(given, dtype=np.float64), 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights / weights.sum()))
