"""Covariances of Gaussian classes from their statistics: pooled, shrunk and inverted."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NoCovariance, NotTrainable
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics

Covariance = Literal["tied", "diag", "tied-diag", "spherical", "tied-spherical", "full"]
MOMENTS: dict[Covariance, Moment] = {
    "tied": "shared",
    "full": "full",
    "diag": "diagonal",
    "tied-diag": "diagonal",
    "spherical": "diagonal",
    "tied-spherical": "diagonal",
}
"""The form of the second moment from which each covariance is estimated."""

MOST_CELLS = 2**27
"""Maximum number of values in the covariances of all classes: 1 GB in float64, and as much again in the artifact."""

Shrinkage = float | Literal["oas"] | NDArray[np.float64]
"""λ in 0…1 towards (tr C / d) I: one number, one number per class (K,), or "oas" for `oas_shrinkage`."""


@dataclass(frozen=True, slots=True)
class Precisions:
    """Inverse covariances of C components, in float64: diag(p) - Fᵀ F, or Fᵀ F if p is None.

    Attributes:
        log_det: log-determinants of the covariances, (C,).
        diagonal: p, (C, d) or (C, 1), or None.
        F: (C, R, d), or None.
        shrinkage: λ that was used, (C,).
    """

    log_det: NDArray[np.float64]
    diagonal: NDArray[np.float64] | None
    F: NDArray[np.float64] | None
    shrinkage: NDArray[np.float64]


def oas_shrinkage(covariance: NDArray[np.float64], rows: float, dim: int | None = None) -> float:
    """Return the shrinkage in 0…1 towards (tr C / d) I, from the covariance and the number of rows alone.

    For C (d, d) it is the oracle approximating shrinkage of Chen, Wiesel, Eldar and Hero 2010, eq. 23, without the 2/d
    terms, as in scikit-learn (they vanish at the widths used here). For a diagonal (d,) it is the best linear shrinkage
    Σ Var(v_j) / Σ (v_j - v̄)² (Ledoit and Wolf 2004, eq. 2.4 for the diagonal alone), with Var(v_j) = 2 σ_j⁴ / n for
    Gaussian rows and σ_j⁴ = v_j² n / (n + 2).

    Args:
        dim: d, if C is given along a basis of a space that contains all rows; None for the size of C.
    """
    if covariance.ndim == 1:
        spread = np.sum((covariance - covariance.mean()) ** 2)
        return 1.0 if spread <= 0 else float(min(1.0, 2.0 / (rows + 2.0) * np.sum(covariance**2) / spread))
    return oas_of(np.sum(covariance**2), np.trace(covariance), dim or len(covariance), rows)


def oas_of(power: float, trace: float, dim: int, rows: float) -> float:
    """Return `oas_shrinkage` of C (d, d) from tr C² (`power`) and tr C."""
    excess = (rows + 1) * (power - trace**2 / dim)
    return 1.0 if excess <= 0 else float(min(1.0, (power + trace**2) / excess))


def shrunk_covariance(statistics: GaussianStatistics, shrinkage: Shrinkage) -> tuple[NDArray[np.float64], float]:
    """Return the shrunk pooled covariance (d, d), or its diagonal (d,), and the λ used. Raises NotTrainable."""
    covariance = pooled(statistics)
    used = oas_shrinkage(covariance, statistics.rows) if isinstance(shrinkage, str) else float(np.mean(shrinkage))
    return shrunk(covariance, used), used


def shrunk(covariance: NDArray[np.float64], shrinkage: float, dim: int | None = None) -> NDArray[np.float64]:
    """Return (1 - λ) C + λ (tr C / d) I for C (d, d), or its diagonal for the diagonal of C (d,).

    Args:
        dim: d, as in `oas_shrinkage`.
    """
    found = covariance * (1.0 - shrinkage)
    scale = shrinkage * mean_variance(covariance) * (len(covariance) / (dim or len(covariance)))
    if found.ndim == 1:
        return found + scale
    found[np.diag_indices_from(found)] += scale
    return found


def pooled(statistics: GaussianStatistics) -> NDArray[np.float64]:
    """Return the pooled covariance (d, d), or its diagonal (d,). Raises NotTrainable if it is 0, or for no rows."""
    if statistics.rows == 0:
        raise NoCovariance("no rows: a Gaussian needs at least two rows in one class")
    covariance = statistics.covariance()
    if not covariance.any():
        raise NoCovariance(
            f"no class has two different rows ({statistics.rows:g} rows in "
            f"{np.count_nonzero(statistics.present)} classes, n_features = {statistics.dim}): there is no covariance"
        )
    return covariance


def require_room(covariance: Covariance, n_classes: int, dim: int) -> None:
    """Raise NotTrainable if the full covariances of this many classes would not fit into memory."""
    if covariance == "full" and n_classes * dim**2 > MOST_CELLS:
        raise NotTrainable(
            f"covariance='full' of {n_classes} classes in {dim} dimensions takes {n_classes * dim**2 * 8e-9:.1f} GB; "
            "use project='pca' with fewer dims, or covariance='diag' or 'tied'"
        )


def mean_variance(covariance: NDArray[np.float64]) -> float:
    """Return tr C / d for C (d, d) or its diagonal (d,)."""
    return float(np.mean(covariance if covariance.ndim == 1 else np.diag(covariance)))


def class_precisions(
    statistics: GaussianStatistics, covariance: Covariance, shrinkage: Shrinkage, pooling: float
) -> Precisions:
    """Return the inverse covariance of every class, for "diag" and "spherical".

    The covariance is S_k = (1 - α) C_k + α C, then (1 - λ) S_k + λ (tr S_k / d) I: Friedman's regularised discriminant
    analysis (1989, eqs. 17 and 18). A class without two different rows has the pooled covariance C.

    Args:
        shrinkage: λ.
        pooling: α in 0…1.

    Raises:
        NotTrainable: no class has two different rows, or a covariance is singular.
    """
    common, own = pooled(statistics), statistics.class_covariances()
    varied = np.any(own, axis=1, keepdims=True)
    variances = np.where(varied, (1.0 - pooling) * own + pooling * common, common)
    means = variances.mean(axis=1, keepdims=True)
    if covariance == "spherical":
        return Precisions(statistics.dim * np.log(means[:, 0]), 1.0 / means, None, np.zeros(len(means)))
    rows = statistics.counts
    used = lambdas(shrinkage, [oas_shrinkage(each, n) for each, n in zip(variances, rows, strict=True)])
    variances = (1.0 - used)[:, None] * variances + used[:, None] * means
    if variances.min() <= 0:
        raise singular(rows, statistics.dim, int(np.argmin(variances.min(axis=1))), used)
    return Precisions(np.log(variances).sum(axis=1), 1.0 / variances, None, used)


def lambdas(shrinkage: Shrinkage, oas: list[float]) -> NDArray[np.float64]:
    """Return λ of every class, (K,): `oas` if shrinkage is "oas"."""
    given = oas if isinstance(shrinkage, str) else shrinkage
    return np.broadcast_to(np.asarray(given, dtype=np.float64), (len(oas),))


@dataclass(frozen=True, slots=True)
class Spectra:
    """Eigenvalues and eigenvectors of the classes' covariances, which serve every shrinkage at almost no cost.

    Attributes:
        values: all eigenvalues that are not 0, (K, R).
        vectors: their eigenvectors as rows, (K, R, d).
        level: tr S_k / d, (K,); that of the pooled covariance for classes without two different rows.
        counts: number of rows of every class, (K,).
    """

    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    level: NDArray[np.float64]
    counts: NDArray[np.float64]


def class_spectra(statistics: GaussianStatistics, pooling: float) -> Spectra:
    """Return the spectra of S_k as in `class_precisions`, for "full" covariances. Raises NotTrainable."""
    common, covariances = pooled(statistics), statistics.class_covariances()
    if pooling > 0:
        covariances = (1.0 - pooling) * covariances + pooling * common
    traces = np.einsum("kii->k", covariances)
    values, vectors = spectra(covariances, int(np.ceil(statistics.counts.max())))
    return Spectra(values, vectors, np.where(traces > 0, traces, np.trace(common)) / statistics.dim, statistics.counts)


def full_precisions(found: Spectra, shrinkage: Shrinkage) -> Precisions:
    """Return the inverses of (1 - λ) S_k + λ (tr S_k / d) I: one whitening a class, or a diagonal minus few directions.

    If every class has at most d / 2 rows, a class varies in no more directions than it has rows. Shrinkage gives all
    other directions one variance f, so P = I / f - Fᵀ F, with one row of F for each direction. That is exact, and cheap
    to score if rows are few. A class without two different rows has the pooled variance in every direction.

    Raises NotTrainable: a covariance is singular.
    """
    values, vectors = found.values, found.vectors
    dim = vectors.shape[2]
    traces, powers = values.sum(axis=1), (values**2).sum(axis=1)
    oas = [oas_of(*each, dim, n) for each, n in zip(zip(powers, traces, strict=True), found.counts, strict=True)]
    used = np.where(traces > 0, lambdas(shrinkage, oas), 1.0)
    floors = used * found.level
    variances = (1.0 - used)[:, None] * values + floors[:, None]
    unseen = dim - values.shape[1]
    least = np.minimum(variances.min(axis=1, initial=np.inf), floors if unseen else np.inf)
    if (least <= SINGULAR * found.level).any():
        raise singular(found.counts, dim, int(np.argmin(least / found.level)), used)
    log_det = np.log(variances).sum(axis=1) + unseen * np.log(floors if unseen else 1.0)
    scales = 1.0 / floors[:, None] - 1.0 / variances if unseen else 1.0 / variances
    F = np.sqrt(np.maximum(scales, 0.0))[:, :, None] * vectors
    return Precisions(log_det, 1.0 / floors[:, None] if unseen else None, F, used)


def spectra(covariances: NDArray[np.float64], rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return all eigenvalues that are not 0 (K, R), and their eigenvectors (K, R, d), of covariances (K, d, d).

    R = `rows` if every class has at most `rows` ≤ d / 2 rows: the range is then found by a product with random columns
    (Halko, Martinsson, Tropp 2011, algorithm 4.1), which is exact for a rank up to `rows`. Otherwise R = d.
    """
    K, dim = covariances.shape[:2]
    if rows <= dim // 2:
        probes = np.random.default_rng(0).normal(size=(dim, rows))
        basis, _ = np.linalg.qr(covariances @ probes)
        inner = basis.transpose(0, 2, 1) @ covariances @ basis
        left = np.einsum("kii->k", covariances) - np.einsum("kii->k", inner)
        if (
            left <= 1e-6 * np.einsum("kii->k", covariances)
        ).all():  # `rows` is too small if it counts rows of fractional weight
            values, vectors = np.linalg.eigh(inner)
            return np.maximum(values, 0.0), (basis @ vectors).transpose(0, 2, 1)
    pairs = [np.linalg.eigh(each) for each in covariances]
    values = np.array([each for each, _ in pairs])
    return np.maximum(values, 0.0), np.array([each.T for _, each in pairs]).reshape(K, dim, dim)


SINGULAR = 64 * float(np.finfo(np.float64).eps)
"""A variance below this share of the mean variance counts as 0."""


def singular(counts: NDArray[np.float64], dim: int, k: int, used: NDArray[np.float64]) -> NotTrainable:
    """Return the error for the singular covariance of class `k`."""
    return NotTrainable(
        f"the covariance of class number {k}, {counts[k]:g} rows in {dim} dimensions, is singular with shrinkage "
        f"{used[k]:g}; use shrinkage='oas' or a larger one"
    )
