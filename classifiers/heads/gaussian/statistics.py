"""Sufficient statistics of Gaussian classes: counts, sums and second moments. They can be added and subtracted."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import BadVectors
from classifiers.heads.gaussian.moments import Moment, moments, second_shape


@dataclass(frozen=True, slots=True)
class GaussianStatistics:
    """The sums over training rows that a Gaussian head is computed from, in float64.

    The second moment is about the origin, so that the statistics of two sets of rows add up array by array. In float64
    it keeps about 16 - 2 log10(|mean| / deviation) digits of the covariance, always more than float32 vectors have.

    Attributes:
        counts: n_k, the number of rows of every class, or the sum of their weights, (K,).
        sums: s_k = Σ x over the rows of class k, (K, d).
        second: second moment, in the form that `moment` names.
    """

    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    second: NDArray[np.float64]
    moment: Moment = "shared"

    @classmethod
    def empty(cls, n_classes: int, dim: int, moment: Moment = "shared") -> Self:
        """Return the statistics of no rows."""
        second = np.zeros(second_shape(moment, n_classes, dim))
        return cls(np.zeros(n_classes), np.zeros((n_classes, dim)), second, moment)

    @classmethod
    def of(
        cls,
        X: NDArray[Any],
        codes: NDArray[np.integer[Any]],
        n_classes: int,
        moment: Moment = "shared",
        weights: NDArray[np.float64] | None = None,
    ) -> Self:
        """Return the statistics of rows X (n, d) with codes (n,), integers in 0…K-1.

        Products are computed in float32 for float32 (and narrower) input, in float64 otherwise.

        Args:
            weights: (n,) ≥ 0, or None for 1. A row of weight 2 counts as two rows, a row of weight 0 as none.

        Raises:
            BadVectors: shapes or codes that do not fit, or values that are not finite or whose squares overflow.
        """
        if X.ndim != 2 or codes.shape != X.shape[:1]:
            raise BadVectors(f"expected X (n, d) and codes (n,), got {X.shape} and {codes.shape}")
        if len(X) == 0:
            return cls.empty(n_classes, X.shape[1], moment)
        if not 0 <= codes.min() <= codes.max() < n_classes:
            raise BadVectors(f"codes must be in 0…{n_classes - 1}, got {codes.min()}…{codes.max()}")
        counts, sums, second = moments(X, codes, n_classes, moment, weights)
        squares = second if moment == "diagonal" else np.diagonal(second, axis1=-2, axis2=-1)
        if not np.isfinite(squares).all():
            raise BadVectors("vectors hold NaN, infinity or values whose squares overflow")
        return cls(counts, sums, second, moment)

    def copy(self) -> Self:
        """Return statistics with arrays of their own."""
        return type(self)(self.counts.copy(), self.sums.copy(), self.second.copy(), self.moment)

    @property
    def rows(self) -> float:
        """Number of rows, or the sum of their weights."""
        return float(self.counts.sum())

    @property
    def dim(self) -> int:
        """Width d of the rows."""
        return int(self.sums.shape[1])

    @property
    def present(self) -> NDArray[np.bool_]:
        """True for classes with rows, (K,)."""
        return self.counts > 0

    def update(
        self, X: NDArray[Any], codes: NDArray[np.integer[Any]], weights: NDArray[np.float64] | None = None
    ) -> None:
        """Add rows in place, with the arguments of `of`. If it raises BadVectors, nothing was added."""
        if X.ndim != 2 or X.shape[1] != self.dim:
            raise BadVectors(f"expected X (n, {self.dim}), got {X.shape}")
        added = self.of(X, codes, len(self.counts), self.moment, weights)
        for total, more in zip(self._arrays(), added._arrays(), strict=True):
            total += more

    def merge(self, other: Self) -> Self:
        """Return the statistics of both sets of rows together. Both must have the same classes in the same order."""
        self._require_alike(other)
        return type(self)(self.counts + other.counts, self.sums + other.sums, self.second + other.second, self.moment)

    def subtract(self, other: Self) -> Self:
        """Return the statistics without the rows of `other`, which must be among these rows."""
        self._require_alike(other)
        counts = self.counts - other.counts
        if (counts < 0).any():
            raise ValueError(f"class {int(np.argmin(counts))} has fewer rows than are to be subtracted")
        left = counts > 0  # without rows everything is exactly zero, not only up to rounding
        whose = np.asarray(left.any()) if self.moment == "shared" else left
        second = np.where(_over(whose, self.second), self.second - other.second, 0.0)
        return type(self)(counts, np.where(left[:, None], self.sums - other.sums, 0.0), second, self.moment)

    def _arrays(self) -> tuple[NDArray[np.float64], ...]:
        return self.counts, self.sums, self.second

    def _require_alike(self, other: Self) -> None:
        if (self.sums.shape, self.moment) != (other.sums.shape, other.moment):
            raise ValueError(
                f"statistics with (classes, dims) {self.sums.shape} and {self.moment} second moment cannot be combined "
                f"with {other.sums.shape}, {other.moment}"
            )

    def select(self, classes: NDArray[np.intp]) -> Self:
        """Return the statistics of these classes in this order. Raises ValueError if another class has rows."""
        if self.counts.sum() != self.counts[classes].sum():
            raise ValueError("only classes without rows can be left out")
        second = self.second if self.moment == "shared" else self.second[classes]
        return type(self)(self.counts[classes], self.sums[classes], second, self.moment)

    def means(self) -> NDArray[np.float64]:
        """Return the class means (K, d); 0 for classes without rows."""
        return self.sums / np.where(self.present, self.counts, 1.0)[:, None]

    def centre(self) -> NDArray[np.float64]:
        """Return the mean of all rows, (d,)."""
        return np.asarray(self.sums.sum(axis=0) / self.rows)

    def covariance(self) -> NDArray[np.float64]:
        """Return the pooled covariance C = within-class scatter / N, (d, d) and symmetric, or its diagonal (d,).

        It is exactly zero if no class has two rows that differ within the precision of float64. A "diagonal" second
        moment gives the diagonal.
        """
        if self.moment != "shared":
            return np.asarray(np.tensordot(self.counts, self.class_covariances(), axes=1) / self.rows)
        centre = self.centre()
        between = (self.means() - centre) * np.sqrt(self.counts)[:, None]
        within = self.second - np.outer(centre, self.sums.sum(axis=0))
        within -= between.T @ between
        within = within + within.T
        within *= 0.5
        if self.rows <= np.count_nonzero(self.counts) or np.trace(within) <= NOISE * np.trace(self.second):
            return np.zeros_like(within)
        within /= self.rows
        return np.asarray(within)

    def class_covariances(self) -> NDArray[np.float64]:
        """Return the covariance scatter / n_k of every class, (K, d, d), or the diagonals (K, d).

        It is exactly zero for classes without two rows that differ within the precision of float64. A "diagonal" second
        moment gives the diagonals. Raises ValueError for a "shared" second moment.
        """
        if self.moment == "shared":
            raise ValueError("a shared second moment has one covariance for all classes")
        counts = np.where(self.present, self.counts, 1.0)
        means, second = self.means(), self.second / _over(counts, self.second)
        if self.moment == "diagonal":
            found, power = second - means**2, second
            traces = found.sum(axis=1)
        else:
            found = second - np.einsum("ki,kj->kij", means, means)
            found = (found + found.transpose(0, 2, 1)) / 2
            power = np.einsum("kii->ki", second)
            traces = np.einsum("kii->k", found)
        varied = traces > NOISE * power.sum(axis=1)
        found[~varied] = 0.0
        return np.asarray(np.maximum(found, 0.0) if self.moment == "diagonal" else found)

    def total_covariance(self) -> NDArray[np.float64]:
        """Return the covariance of all rows together, (d, d). Raises ValueError for a "diagonal" second moment."""
        if self.moment == "diagonal":
            raise ValueError("the total covariance needs the full second moment, not only its diagonal")
        second = self.second if self.moment == "shared" else self.second.sum(axis=0)
        centre = self.centre()
        return np.asarray(second / self.rows - np.outer(centre, centre))

    def mapped(self, matrix: NDArray[Any] | None, offset: NDArray[Any] | None) -> Self:
        """Return the "shared" statistics of the rows x @ matrix + offset.

        Args:
            matrix: (d, m), or None for the identity.
            offset: (m,), or None for 0.

        Raises ValueError unless the second moment is "shared".
        """
        if self.moment != "shared":
            raise ValueError("only a shared second moment can be mapped")
        sums = self.sums if matrix is None else self.sums @ matrix
        second = self.second if matrix is None else matrix.T @ self.second @ matrix
        if offset is None:
            return type(self)(self.counts, sums, second)
        cross = np.outer(sums.sum(axis=0), offset)
        second = second + cross + cross.T + self.rows * np.outer(offset, offset)
        return type(self)(self.counts, sums + np.outer(self.counts, offset), second)


NOISE = 16 * float(np.finfo(np.float64).eps)
"""A scatter below this share of the second moment is rounding error."""


def _over(per_class: NDArray[Any], array: NDArray[Any]) -> NDArray[Any]:
    """Return `per_class` (K,) in a shape that broadcasts along the leading axis of `array`."""
    return per_class.reshape(per_class.shape + (1,) * (array.ndim - per_class.ndim))
