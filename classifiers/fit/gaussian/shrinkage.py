"""The choice of shrinkage: by Ledoit and Wolf's formula from the rows, or by the NLL of validation rows."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from classifiers.evaluation.choice import choose
from classifiers.fit.gaussian.parallel import Batch, ahead, factorising
from classifiers.fit.remembered import remembered
from classifiers.heads.gaussian.covariance import class_spectra, mean_variance, oas_shrinkage, shrunk
from classifiers.heads.gaussian.discriminant import TIED, GaussianModel, discriminant, log_priors, singular_pooled
from classifiers.heads.gaussian.quadratic import Quadratic
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform

Lambda = float | NDArray[np.float64]
"""A shrinkage as one number, or one for each class."""

CANDIDATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Values tried besides the OAS value. OAS assumes Gaussian rows; networks' vectors have heavier tails and need more."""

LEAST_SHRINKAGE = 1e-4
"""Lower limit of the shrinkage by Ledoit and Wolf's formula, which keeps the precision finite in all directions."""


class ChosenShrinkage(NamedTuple):
    """A shrinkage that was chosen on validation rows.

    Attributes:
        left_out: scores (n, K) of these rows, independent of the choice; see `classifiers.evaluation.choice.Choice`.
    """

    shrinkage: float
    left_out: NDArray[np.float32] | None


@remembered
def choose_shrinkage(
    statistics: GaussianStatistics,
    model: GaussianModel,
    Z: NDArray[np.float32],
    codes: NDArray[np.int64],
    dim: int | None = None,
) -> ChosenShrinkage:
    """Choose the shrinkage with the least NLL on validation rows. Each candidate is judged at its best temperature.

    Args:
        statistics: statistics of the training rows.
        Z: validation rows (n, m), after the transform of the training rows.
        codes: classes of the validation rows, (n,).
        dim: see `solver`.
    """
    solve_for = solver(statistics, model, dim)
    centred = Z - statistics.centre().astype(np.float32)
    candidates = (oas_shrinkage(statistics.covariance(), statistics.rows, dim), *CANDIDATES)
    with ahead(solve_for(each).astype(np.float32)(centred) for each in candidates) as scores:
        choice = choose(scores, codes)
    return ChosenShrinkage(candidates[choice.best], choice.left_out)


def solver(
    statistics: GaussianStatistics, model: GaussianModel, dim: int | None = None
) -> Callable[[Lambda], Quadratic]:
    """Return a function: shrinkage → scores of centred rows. Work that all values of shrinkage share is done once.

    Args:
        dim: width of the rows, if `statistics` are those of their coordinates in a smaller space that contains all of
            them, see `rotatable`; None for the width of `statistics`.
    """
    spectra = class_spectra(statistics, model.pooling) if model.covariance == "full" else None
    covariance, centre = statistics.covariance(), statistics.centre()
    means = np.where(statistics.present[:, None], statistics.means() - centre, 0.0)
    log_pi = log_priors(statistics.counts, model.priors)

    def solve_tied(shrinkage: Lambda) -> Quadratic:
        regular = shrunk(covariance, float(np.mean(shrinkage)), dim)
        with factorising(statistics.dim):  # takes a tenth of a whitening's time
            try:
                weights = solve(regular, means.T, assume_a="pos", overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError:
                raise singular_pooled(statistics, float(np.mean(shrinkage))) from None
        return Quadratic(log_pi - 0.5 * np.sum(means.T * weights, axis=0), weights.T)

    def solve_any(shrinkage: Lambda) -> Quadratic:
        scores = discriminant(statistics, replace(model, shrinkage=shrinkage), spectra).scores
        if model.covariance not in TIED or scores.W is None:
            return scores
        return Quadratic(scores.b + scores.W @ centre, scores.W)

    return solve_tied if rotatable(model) else solve_any


def rotatable(model: GaussianModel) -> bool:
    """True if the scores are the same along any orthonormal basis of a space that contains all training rows.

    The covariance has no part outside this space but λ (tr C / d) I, and the differences of the means lie inside.
    """
    return model.covariance == "tied" and not model.correlation


def ledoit_wolf(
    batches: Iterable[Batch], statistics: GaussianStatistics, transform: Transform, *, tied: bool
) -> NDArray[np.float64]:
    """Return the shrinkage of the pooled covariance (1,), or of each class (K,), from a second pass over the rows.

    Ledoit and Wolf 2004 ("A well-conditioned estimator", lemma 3.3 and eq. 14):
    λ = min(1, Σ_i ‖z_i z_iᵀ - C‖² / n² / ‖C - (tr C / d) I‖²) for rows z centred on their class. For diagonal
    covariances both norms are those of the diagonals.

    Args:
        batches: the rows of `statistics` again.
        tied: True for the pooled covariance, False for those of the classes.
    """
    diagonal = statistics.moment == "diagonal"
    covariances = statistics.covariance()[None] if tied else statistics.class_covariances()
    counts = np.array([statistics.rows]) if tied else statistics.counts
    fourth = fourth_moments(batches, statistics, transform, diagonal=diagonal)
    squares = fourth.sum(axis=0, keepdims=True) if tied else fourth
    axes = tuple(range(1, covariances.ndim))
    power = (covariances**2).sum(axis=axes)
    spread = power - statistics.dim * np.array([mean_variance(each) for each in covariances]) ** 2
    n = np.maximum(counts, 1.0)
    noise = np.maximum(squares / n - power, 0.0) / n
    found = np.minimum(1.0, noise / np.where(spread > 0, spread, 1.0))
    return np.asarray(np.where(spread > 0, np.maximum(found, LEAST_SHRINKAGE), 1.0))


def fourth_moments(
    batches: Iterable[Batch], statistics: GaussianStatistics, transform: Transform, *, diagonal: bool
) -> NDArray[np.float64]:
    """Return Σ ‖z‖⁴ over the rows z of each class, centred on the class, (K,); for `diagonal` Σ Σ_j z_j⁴."""
    means, found = statistics.means(), np.zeros(len(statistics.counts))
    for X, codes, weights in batches:
        squares: NDArray[Any] = (transform(X) - means[codes]) ** 2
        each = (squares**2).sum(axis=1) if diagonal else squares.sum(axis=1) ** 2
        found += np.bincount(codes, weights=each if weights is None else each * weights, minlength=len(found))
    return found
