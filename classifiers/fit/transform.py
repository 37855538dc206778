"""Learning the transform inside a head, from its parameters and the statistics of one pass over the rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import BadParameter, NotTrainable
from classifiers.fit.gaussian.parallel import Batch, gather, shares
from classifiers.fit.remembered import remembered
from classifiers.fit.row_space import row_space
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform, check_edges

Projection = Literal["none", "centre", "pca", "ranpac"]
PROJECTIONS: tuple[Projection, ...] = ("none", "centre", "pca", "ranpac")
Dims = float | Literal["all"]
"""Number of components or features, a share of the variance, or all components."""
RANDOM_FEATURES = 2000
"""Default number of random features of RanPAC. The paper's 10,000 need statistics of 800 MB."""


@dataclass(frozen=True, slots=True)
class TransformPlan:
    """The parameters of a head's transform.

    Attributes:
        norm: "unit" scales each block of columns to unit norm first; "none" does not.
        project: the next step. "centre" subtracts the mean of all rows, "pca" centres and projects onto the leading
            principal components, "ranpac" takes max(0, x R) with R ~ N(0, 1) (arXiv 2307.02251), "none" does nothing.
        dims: for "pca" the number of components (a whole number), the share of the variance that they must explain
            (above 0 and below 1), or "all"; None for 0.8, as in arXiv 2410.13421. 1.0 is refused, because it could be
            read as one component or as all of the variance, and JSON does not tell it from 1. For "ranpac" the number
            of random features; None for 2,000.
        whiten: give the components of "pca" unit variance.
        blocks: column edges of the encoders; None for one encoder.
        seed: seed of R.
    """

    norm: Literal["none", "unit"] = "none"
    project: Projection = "none"
    dims: Dims | None = None
    whiten: bool = False
    blocks: Sequence[int] | None = None
    seed: int = 0

    @classmethod
    def of(cls, estimator: Any) -> Self:
        """Return the plan from an estimator's parameters of the same names."""
        return cls(**{field.name: getattr(estimator, field.name) for field in fields(cls)})

    def check(self) -> None:
        """Raise BadParameter for values that are not allowed; the message names the allowed ones."""
        if self.norm not in ("none", "unit"):
            raise BadParameter(f"norm must be 'none' or 'unit', got {self.norm!r}")
        if self.project not in PROJECTIONS:
            raise BadParameter(f"project must be one of {', '.join(PROJECTIONS)}, got {self.project!r}")
        if not (self.dims is None or whole(self.dims) or (self.project == "pca" and share(self.dims))):
            raise BadParameter(
                "dims must be a whole number ≥ 1, or for pca a share of the variance above 0 and below 1, or 'all', "
                f"got {self.dims!r}"
            )

    @property
    def learned(self) -> bool:
        """True if the transform needs statistics of the rows."""
        return self.project in ("centre", "pca")

    def rowwise(self, dim: int) -> Transform:
        """Return the part of the transform that needs no statistics. Raises BadParameter for values that do not fit."""
        self.check()
        edges = (0, dim) if self.blocks is None else check_edges(self.blocks, dim)
        transform = Transform(dim, edges if self.norm == "unit" else ())
        if self.project != "ranpac":
            return transform
        shape = (dim, RANDOM_FEATURES if self.dims is None else int(self.dims))
        random = np.random.default_rng(self.seed).normal(size=shape).astype(np.float32)
        return replace(transform, matrix=random, relu=True)

    def complete(
        self, transform: Transform, statistics: GaussianStatistics, basis: NDArray[np.float64] | None = None
    ) -> Transform:
        """Return the complete transform, from the row-wise part and the statistics of the rows after that part.

        Args:
            basis: orthonormal (d, r), if `statistics` are those of coordinates along it, of all rows; for "pca".
        """
        if not self.learned:
            return transform
        centre = statistics.centre()
        if self.project == "centre":
            return replace(transform, offset=-centre)
        dims = 0.8 if self.dims is None else 1.0 if self.dims == "all" else self.dims
        matrix = principal_components(statistics.total_covariance(), dims, self.whiten, basis)
        if basis is not None:
            centre = basis @ centre
        return replace(transform, matrix=matrix, offset=-centre @ matrix)

    def learn(self, X: NDArray[Any], weights: NDArray[np.float64] | None = None) -> Transform:
        """Learn the complete transform from rows X (n, d) in memory. Raises NotTrainable, BadVectors, ValueError."""
        rowwise = self.rowwise(X.shape[1])
        if not self.learned:
            return rowwise
        alike = np.zeros(len(X), dtype=np.int64)
        batches = shares(X, alike, weights)
        basis = self.basis(batches, rowwise)
        return self.complete(rowwise, gather(batches, 1, replace(rowwise, matrix=basis)), basis)

    def basis(self, batches: Iterable[Batch], rowwise: Transform) -> NDArray[np.float64] | None:
        """Return a basis (d, n) of the rows in which principal components cost less; None if they are not few."""
        if self.project != "pca":
            return None
        parts: list[NDArray[Any]] = []
        for batch in batches:
            parts.append(rowwise(batch.X))
            if sum(map(len, parts)) >= rowwise.width:
                return None
        rows = np.concatenate(parts) if parts else np.empty((0, rowwise.width))
        return row_space(rows) if len(rows) and np.isfinite(rows).all() else None


def whole(value: object) -> bool:
    """True for a whole number ≥ 1, but not for 1.0."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def share(value: object) -> bool:
    """True for "all", and for a fraction above 0 and below 1."""
    return value == "all" or (isinstance(value, Real) and not isinstance(value, Integral) and 0 < float(value) < 1)


def principal_components(
    covariance: NDArray[np.float64], dims: float, whiten: bool, basis: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the leading eigenvectors of a covariance (d, d), as columns (d, m).

    Args:
        dims: m as a whole number, or as a float the share of the variance that the m eigenvectors must explain, up to
            1.0 for all of it.
        whiten: divide each eigenvector by the deviation along it.
        basis: orthonormal (d, r), if the covariance (r, r) is that of coordinates along it.

    Raises:
        NotTrainable: no variance, or m is larger than the number of directions with variance.
    """
    values, vectors = spectrum(covariance)
    held = np.cumsum(values)
    varied = int(np.count_nonzero(values > 1e-10 * values[0])) if held[-1] > 0 else 0
    if not varied:
        raise NotTrainable("all rows are equal, so there are no principal components; use rows that differ")
    if isinstance(dims, Integral):
        count = int(dims)
        if count > varied:
            raise NotTrainable(
                f"{count} principal components requested, but the rows vary in only {varied} directions; request fewer"
            )
    else:
        count = min(varied, 1 + int(np.searchsorted(held, dims * held[-1] * (1 - 1e-12))))
    kept = vectors[:, :count] if basis is None else basis @ vectors[:, :count]
    # The signs of eigenvectors differ between machines; this fixes them.
    kept = kept * np.where(np.abs(kept.min(axis=0)) > kept.max(axis=0), -1.0, 1.0)
    return kept / np.sqrt(values[:count]) if whiten else kept


@remembered
def spectrum(covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenvalues (d,) of a covariance, the largest first, and its eigenvectors as columns (d, d)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def token_components(statistics: GaussianStatistics, dims: float) -> tuple[float, dict[str, NDArray[np.float32]]]:
    """Return the principal components of tokens: the share of variance that they keep, and a condenser's arrays.

    Args:
        statistics: statistics of all tokens, F numbers each, as rows of one class.
        dims: as for `principal_components`.

    Returns:
        The share, and float32 arrays `mean` (F,) and `components` (m, F).

    Raises NotTrainable for fewer than two tokens, and as `principal_components` does.
    """
    if statistics.rows < 2:
        raise NotTrainable("no image whose vector is stored can be read; ingest and backfill readable images first")
    covariance = statistics.total_covariance()
    axes = principal_components(covariance, dims, whiten=False)
    kept = float(np.einsum("fc,fg,gc->", axes, covariance, axes, optimize=True) / np.trace(covariance))
    return kept, {"mean": statistics.centre().astype(np.float32), "components": axes.T.astype(np.float32, order="C")}
