"""Sufficient statistics of Gaussian classes: counts, sums and one second moment. They add and subtract."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import BadVectors

CHUNK_ROWS = 8192
"""Rows per Gram product. Bounds the working copy (8192 × 1280 float32 = 42 MB) and the number of rows that
are summed in float32 before the sum goes on in float64."""

PIECE_ROWS = 1024
"""Rows that are gathered, shifted and summed while they are in the cache (1024 × 512 float32 = 2 MB)."""


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

    @classmethod
    def of(cls, X: NDArray[Any], codes: NDArray[np.integer[Any]], n_classes: int) -> Self:
        """The statistics of rows X (n, d) with codes (n,), integers in 0…K-1.

        The Gram product runs in float32 for float32 (and narrower) input, in float64 otherwise.

        Raises:
            BadVectors: shapes or codes that do not fit, or values that are not finite or overflow.
        """
        if X.ndim != 2 or codes.shape != X.shape[:1]:
            raise BadVectors(f"expected X (n, d) and codes (n,), got {X.shape} and {codes.shape}")
        if len(X) == 0:
            return cls.empty(n_classes, X.shape[1])
        if not 0 <= codes.min() <= codes.max() < n_classes:
            raise BadVectors(f"codes must lie in 0…{n_classes - 1}, got {codes.min()}…{codes.max()}")
        counts, sums, second = moments(X, codes, n_classes)
        if not np.isfinite(np.trace(second)):
            raise BadVectors("vectors hold NaN, infinity or values whose squares overflow")
        return cls(counts, sums, second)

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
        """Adds rows in place, as `of` takes them. Raises BadVectors; nothing has been added then."""
        if X.ndim != 2 or X.shape[1] != self.dim:
            raise BadVectors(f"expected X (n, {self.dim}), got {X.shape}")
        added = self.of(X, codes, len(self.counts))
        for name in self.__slots__:
            total = getattr(self, name)
            total += getattr(added, name)

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

    def select(self, classes: NDArray[np.intp]) -> Self:
        """The statistics of these classes in this order; those left out must be without rows."""
        if self.counts.sum() != self.counts[classes].sum():
            raise ValueError("the second moment is shared: only classes without rows can be left out")
        return type(self)(self.counts[classes], self.sums[classes], self.second)

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


def moments(
    X: NDArray[Any], codes: NDArray[np.integer[Any]], n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Counts, sums and second moment of X (n ≥ 1, d), chunk by chunk, in one pass; arguments as in `of`.

    The products are of rows less a provisional mean, because a mean that is large beside the deviation would eat
    the digits of a float32 product. Any point near the data does, so the mean of about 256 rows spread over X is
    enough. Rows are taken class by class: the sums of a class are then sums of a few tall blocks, which costs less
    than any scatter, sparse product or `np.add.reduceat` (measured: a fifth to a twentieth of the time).
    """
    dtype = np.float32 if X.dtype.kind == "f" and X.dtype.itemsize <= 4 else np.float64
    X = X.astype(dtype, copy=False)
    shift = X[:: max(1, len(X) // 256)].mean(axis=0, dtype=np.float64).astype(dtype)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    sums, second = np.zeros((n_classes, X.shape[1])), np.zeros((X.shape[1], X.shape[1]))
    room = np.empty((min(CHUNK_ROWS, len(X)), X.shape[1]), dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller sees it in the trace
        for start in range(0, len(X), CHUNK_ROWS):
            end = min(start + CHUNK_ROWS, len(X))
            Z = room[: end - start]
            for low in range(start, end, PIECE_ROWS):
                piece = slice(low, min(low + PIECE_ROWS, end))
                Z_piece = Z[low - start : piece.stop - start]
                np.take(X, order[piece], axis=0, out=Z_piece, mode="clip")  # any other mode copies once more
                np.subtract(Z_piece, shift, out=Z_piece)
                add_group_sums(sums, Z_piece, codes[piece], shift)
            second += Z.T @ Z
        mean = shift.astype(np.float64)
        cross = np.outer(mean, sums.sum(axis=0) - 0.5 * len(X) * mean)
        second += cross + cross.T
    return np.bincount(codes, minlength=n_classes).astype(np.float64), sums, second


def add_group_sums(
    sums: NDArray[np.float64], Z: NDArray[Any], codes: NDArray[np.integer[Any]], shift: NDArray[Any]
) -> None:
    """Adds the rows of Z + shift to the rows of `sums` that `codes` (sorted) name, in place."""
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    groups, ones = np.empty((len(starts), Z.shape[1]), Z.dtype), np.ones(len(Z), Z.dtype)
    for group, rows in zip(groups, np.split(Z, starts[1:]), strict=True):
        np.dot(ones[: len(rows)], rows, out=group)  # half the time of rows.sum(axis=0)
    sizes = np.diff(starts, append=len(Z))
    sums[codes[starts]] += groups + np.outer(sizes, shift.astype(np.float64))


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
