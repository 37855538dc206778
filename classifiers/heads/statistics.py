"""Sufficient statistics of Gaussian classes: counts, sums and one second moment. They add and subtract."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import BadVectors

CHUNK_ROWS = 8192
"""Rows per Gram product. Bounds the working copy (8192 × 1280 float32 = 42 MB) and the number of rows that
are summed in float32 before the sum goes on in float64."""


@dataclass(frozen=True, slots=True)
class GaussianStatistics:
    """All that a tied-covariance Gaussian head needs to know of its rows, in float64.

    The second moment is raw (about the origin), so that the statistics of two sets of rows add up array by
    array. Its float64 keeps about 16 - 2 log10(|mean| / deviation) digits of the covariance: for float32
    vectors, always more than the vectors themselves carry.

    Attributes:
        counts: n_k, rows of every class, (K,).
        sums: s_k = Σ x over the rows of class k, (K, d).
        second: Σ x xᵀ over all rows, (d, d).
    """

    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    second: NDArray[np.float64]

    @classmethod
    def empty(cls, n_classes: int, dim: int) -> Self:
        return cls(np.zeros(n_classes), np.zeros((n_classes, dim)), np.zeros((dim, dim)))

    def copy(self) -> Self:
        return type(self)(self.counts.copy(), self.sums.copy(), self.second.copy())

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    @property
    def dim(self) -> int:
        return int(self.sums.shape[1])

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which classes have rows, (K,)."""
        return self.counts > 0

    def update(self, X: NDArray[Any], codes: NDArray[np.integer[Any]]) -> None:
        """Adds rows in place: X (n, d), codes (n,) integers in 0…K-1.

        The Gram product runs in float32 for float32 (and narrower) input, in float64 otherwise.

        Raises:
            BadVectors: shapes or codes that do not fit, or values that are not finite or overflow. Chunks
                of `CHUNK_ROWS` rows before the offending one have been added by then.
        """
        if X.ndim != 2 or X.shape[1] != self.dim or codes.shape != X.shape[:1]:
            raise BadVectors(f"expected X (n, {self.dim}) and codes (n,), got {X.shape} and {codes.shape}")
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(self.counts):
            raise BadVectors(f"codes must lie in 0…{len(self.counts) - 1}, got {codes.min()}…{codes.max()}")
        for start in range(0, len(X), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            self._add(X[chunk], codes[chunk])

    def _add(self, X: NDArray[Any], codes: NDArray[np.integer[Any]]) -> None:
        order = np.argsort(codes, kind="stable")
        present, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
        shift, Z = centred(X, order)
        with np.errstate(over="ignore", invalid="ignore"):
            gram = (Z.T @ Z).astype(np.float64)
            sums = group_sums(Z, starts)
        if not np.isfinite(np.trace(gram)):
            raise BadVectors("vectors hold NaN, infinity or values whose squares overflow")
        total = sums.sum(axis=0)
        gram += np.outer(shift, total + len(X) * shift) + np.outer(total, shift)
        self.counts[present] += counts
        self.sums[present] += sums + counts[:, None] * shift
        np.add(self.second, gram, out=self.second)

    def merge(self, other: Self) -> Self:
        """The statistics of both sets of rows together. Same classes in the same order on both sides."""
        self._require_alike(other)
        return type(self)(self.counts + other.counts, self.sums + other.sums, self.second + other.second)

    def subtract(self, other: Self) -> Self:
        """The statistics without the rows of `other`, which must be among this object's rows."""
        self._require_alike(other)
        counts = self.counts - other.counts
        if (counts < 0).any():
            raise ValueError(f"class {int(np.argmin(counts))} has fewer rows than are to be taken away")
        sums = np.where(counts[:, None] > 0, self.sums - other.sums, 0.0)
        second = self.second - other.second if counts.any() else np.zeros_like(self.second)
        return type(self)(counts, sums, second)

    def _require_alike(self, other: Self) -> None:
        if self.sums.shape != other.sums.shape:
            raise ValueError(f"statistics of (classes, dims) {self.sums.shape} and {other.sums.shape}")

    def means(self) -> NDArray[np.float64]:
        """Class means (K, d); 0 for classes without rows."""
        return self.sums / np.maximum(self.counts, 1.0)[:, None]

    def centre(self) -> NDArray[np.float64]:
        """Mean of all rows, (d,)."""
        return np.asarray(self.sums.sum(axis=0) / self.counts.sum())

    def covariance(self) -> NDArray[np.float64]:
        """Pooled covariance C = within-class scatter / N, (d, d), symmetric.

        Zero, exactly, when no class has two different rows as far as float64 can tell.
        """
        centre = self.centre()
        between = (self.means() - centre) * np.sqrt(self.counts)[:, None]
        within = self.second - np.outer(centre, self.sums.sum(axis=0)) - between.T @ between
        within = (within + within.T) / 2
        noise = 16 * np.finfo(np.float64).eps * np.trace(self.second)
        if self.rows <= np.count_nonzero(self.counts) or np.trace(within) <= noise:
            return np.zeros_like(within)
        return np.asarray(within / self.counts.sum())


def centred(X: NDArray[Any], order: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """A provisional mean (d,), and the rows of X in `order` less that mean: float32, or float64 for wide X.

    Without the shift a mean that is large beside the deviation would eat the digits of a float32 product.
    Any point near the data does, so the mean of about 256 rows spread over X is enough.
    """
    dtype = np.float64 if X.dtype.itemsize > 4 or X.dtype.kind != "f" else np.float32
    shift = X[:: max(1, len(X) // 256)].mean(axis=0, dtype=np.float64).astype(dtype)
    Z = X[order].astype(dtype, copy=False)
    np.subtract(Z, shift, out=Z)
    return shift.astype(np.float64), Z


def group_sums(Z: NDArray[Any], starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sums of consecutive rows of Z, one per group that begins at `starts`: (groups, d) float64.

    A loop over the groups: for tall blocks it takes a tenth of the time of `np.add.reduceat`.
    """
    ends = np.append(starts[1:], len(Z))
    sums = np.empty((len(starts), Z.shape[1]))
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        sums[row] = Z[start:end].sum(axis=0)
    return sums


def oas_shrinkage(covariance: NDArray[np.float64], rows: int) -> float:
    """Shrinkage in 0…1 towards (tr C / d) I, from tr C, tr C² and the number of rows alone.

    Oracle approximating shrinkage, Chen, Wiesel, Eldar and Hero 2010, eq. 23, without its 2/d terms as in
    scikit-learn (they vanish at the widths used here).
    """
    dim = len(covariance)
    square = np.trace(covariance) ** 2
    power = np.sum(covariance**2)
    excess = (rows + 1) * (power - square / dim)
    return 1.0 if excess <= 0 else float(min(1.0, (power + square) / excess))
