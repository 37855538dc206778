"""The metric of a mixture head: an affine map of the vectors to coordinates in which distances are comparable."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from classifiers.heads.gaussian.covariance import mean_variance, pooled
from classifiers.heads.gaussian.quadratic import Quadratic
from classifiers.heads.gaussian.statistics import NOISE, GaussianStatistics
from classifiers.heads.transform import Transform

MetricName = Literal["white", "col", "one"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
LEAST_SHRINKAGE = 1e-6
"""Least λ that is used, so that directions in which the training rows do not vary keep a finite weight."""
LEAST_VARIANCE = 1e-30
"""A smaller variance counts as 0, because the inverse of its square would overflow in a float32 head."""


class Metric(Protocol):
    """An affine map u → z to centred coordinates, in which the mean variance of a column is 1.

    Attributes:
        within: mean variance of a column of z within classes, 0 < within ≤ 1.
    """

    @property
    def within(self) -> float: ...

    def __call__(self, centred: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return z (n, m) of u minus its mean, (n, m)."""
        ...

    def placed(self, scores: Quadratic, transform: Transform) -> tuple[Quadratic, Transform]:
        """Return functions of z as functions of vectors x, with the transform that is applied to x first.

        Args:
            scores: functions of z.
            transform: the map x → u.
        """
        ...


@dataclass(frozen=True, slots=True)
class Whitened:
    """z = (u - mean) @ matrix. In z the shrunk pooled covariance within classes is a multiple of the identity."""

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]
    within: float

    @classmethod
    def of(cls, statistics: GaussianStatistics, mean: NDArray[np.float64], shrinkage: float) -> Self:
        """Learn from the "shared" statistics of u - mean. Raises NotTrainable without variance within classes."""
        covariance, used = pooled(statistics), max(shrinkage, LEAST_SHRINKAGE)
        shrunk = (1.0 - used) * covariance + used * mean_variance(covariance) * np.eye(len(mean))
        lower = cholesky(shrunk, lower=True)
        matrix = solve_triangular(lower, np.eye(len(mean)), lower=True).T
        within = np.einsum("ij,ij->j", matrix, covariance @ matrix).mean()
        total = within + between(statistics, statistics.means() @ matrix).mean()
        return cls(mean, matrix / np.sqrt(total), float(within / total))

    def __call__(self, centred: NDArray[np.float64]) -> NDArray[np.float64]:
        return centred @ self.matrix

    def placed(self, scores: Quadratic, transform: Transform) -> tuple[Quadratic, Transform]:
        if scores.Q is None and scores.W is not None:
            return folded(Quadratic(scores.b, scores.W @ self.matrix.T), self.mean, transform)
        first = np.eye(transform.width) if transform.matrix is None else transform.matrix
        offset = (-self.mean if transform.offset is None else transform.offset - self.mean) @ self.matrix
        return scores, replace(transform, matrix=first @ self.matrix, offset=offset)


@dataclass(frozen=True, slots=True)
class Standardised:
    """z = (u - mean) / scale, with one scale for each column, (m,), or one for all, (1,).

    With a scale for each column, every column of z has variance 1, and a constant column is 0.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    within: float

    @classmethod
    def of(cls, statistics: GaussianStatistics, mean: NDArray[np.float64], *, common: bool = False) -> Self:
        """Learn from the "diagonal" statistics of u - mean. Raises NotTrainable without variance within classes.

        Args:
            common: use one scale for all columns, which keeps the angles between rows.
        """
        covariance = pooled(statistics)
        variances = covariance + between(statistics, statistics.means())
        variances[variances <= np.maximum(NOISE * mean**2, LEAST_VARIANCE)] = 0.0
        scale = np.sqrt(variances.mean(keepdims=True) if common else np.where(variances > 0, variances, 1.0))
        return cls(mean, scale, float((covariance / scale**2)[variances > 0].sum() / len(mean)))

    def __call__(self, centred: NDArray[np.float64]) -> NDArray[np.float64]:
        return centred / self.scale

    def placed(self, scores: Quadratic, transform: Transform) -> tuple[Quadratic, Transform]:
        scores = scores.over(self.scale)
        if scores.Q is None or transform.relu:
            return folded(scores, self.mean, transform)
        offset = -self.mean if transform.offset is None else transform.offset - self.mean
        return scores, replace(transform, offset=offset)


def between(statistics: GaussianStatistics, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance (m,) of class means (K, m) about 0, each weighted by its class's rows."""
    return np.asarray(statistics.counts @ means**2 / statistics.rows)


def folded(scores: Quadratic, mean: NDArray[np.float64], transform: Transform) -> tuple[Quadratic, Transform]:
    """Return functions of u - mean as functions of u; linear functions also absorb the affine part of the transform."""
    if scores.W is None:
        raise ValueError("scores without linear weights cannot be folded")
    b, W, o = scores.b - scores.W @ mean, scores.W, scores.o
    if scores.Q is None:
        W, b = transform.folded(W, b)
        return Quadratic(b, W), transform.rowwise
    if scores.F is not None and o is not None:
        o = o + scores.F @ mean
    return Quadratic(b + (scores.Q * mean**2).sum(axis=1), W - 2.0 * scores.Q * mean, scores.Q, scores.F, o), transform
