"""The outlier score of a vector for a head of any kind: relative Mahalanobis distance on unit-norm blocks.

With m_k the class means, m₀ the mean, S the shrunk within-class covariance and S₀ the shrunk total covariance of the
training rows, after every block of columns (one block an encoder) is set to unit norm:

    score(x) = min_k (x - m_k)ᵀ S⁻¹ (x - m_k)  -  (x - m₀)ᵀ S₀⁻¹ (x - m₀)

The relative distance is that of Ren et al. 2021 (arXiv 2106.09022). The unit norm is that of Mahalanobis++ (Müller and
Hein 2025, arXiv 2505.18032).

Both covariances have the same shrinkage. Then S₀ - S is positive definite, so S⁻¹ - S₀⁻¹ is too, and the score rises
with the distance from all classes in every direction. If each covariance had its own OAS shrinkage, the score would
fall without bound in directions without between-class variance: for a head for garments and photos of other objects,
the AUROC was then 0.001 instead of 0.999 (`benchmarks/outliers.py`).

The score separates far out-of-distribution rows well and near ones badly. For a head that knows five kinds of
garments, five other kinds have an AUROC of 0.48, which is chance; the largest probability reaches 0.88.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.heads.base import require_shapes
from classifiers.heads.gaussian.covariance import oas_shrinkage, shrunk
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.gaussian.triangle import inverse_of_covariance
from classifiers.heads.transform import unit_blocks

MANY_ROWS, BLOCKS = 256, 4
"""From this many rows on, a quadratic form is computed in this many blocks of columns."""


@dataclass(frozen=True, slots=True)
class PrecisionPair:
    """The two precision matrices of the distances, float64.

    Attributes:
        within: S⁻¹, (d, d).
        total: S₀⁻¹, (d, d).
        shrinkage: λ of both, from the OAS formula for the within-class covariance.
    """

    within: NDArray[np.float64]
    total: NDArray[np.float64]
    shrinkage: float

    @classmethod
    def of(cls, statistics: GaussianStatistics) -> Self:
        """Return the precisions of these statistics.

        Raises NotTrainable: fewer than two classes with rows, or no class with two different rows.
        """
        within = statistics.covariance()
        if np.count_nonzero(statistics.present) < 2 or not within.any():
            raise NotTrainable("an outlier score needs two classes with rows, and two different rows in one of them")
        shrinkage = oas_shrinkage(within, statistics.rows)
        offsets = (statistics.means() - statistics.centre()) * np.sqrt(statistics.counts / statistics.rows)[:, None]
        total = within + offsets.T @ offsets
        return cls(inverse(within, shrinkage), inverse(total, shrinkage), shrinkage)


@dataclass(frozen=True, slots=True)
class OutlierDetector:
    """The outlier score as one quadratic and K linear forms: min_k (b_k - 2 W_k·z) + zᵀ Q z, with z = x - c.

    Attributes:
        edges: column edges (0, …, d) of the blocks that are set to unit norm first; () for none.
        W: row k is S⁻¹ (m_k - c), float32 (K, d).
        b: (m_k - c)ᵀ S⁻¹ (m_k - c), float32 (K,).
        centre: c, the mean of all rows, float32 (d,).
        Q: S⁻¹ - S₀⁻¹, or S⁻¹ for the Mahalanobis distance that is not relative, float32 (d, d).
    """

    edges: tuple[int, ...]
    W: NDArray[np.float32]
    b: NDArray[np.float32]
    centre: NDArray[np.float32]
    Q: NDArray[np.float32]

    @classmethod
    def fold(
        cls, statistics: GaussianStatistics, solved: PrecisionPair, edges: Sequence[int], *, relative: bool = True
    ) -> Self:
        """Return the detector for training rows that `unit_blocks` has set to unit norm with the same `edges`.

        Args:
            solved: precisions of the same `statistics`.
            relative: False leaves out the second distance (Lee et al. 2018, arXiv 1807.03888), for comparisons.
        """
        centre = statistics.centre()
        means = statistics.means()[statistics.present] - centre
        W = means @ solved.within
        Q = solved.within - solved.total if relative else solved.within
        arrays = (W, np.einsum("kd,kd->k", W, means), centre, Q)
        return cls(tuple(edges), *(array.astype(np.float32) for array in arrays))

    @property
    def dim(self) -> int:
        return len(self.centre)

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return outlier scores (n,) of finite float32 X (n, d). Larger means less like the training rows."""
        z = unit_blocks(X, self.edges) - self.centre
        nearest = (self.b - 2 * (z @ self.W.T)).min(axis=1)
        return np.asarray(nearest + quadratic_form(z, self.Q))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all fields by name; the edges as int64."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return found | {"edges": np.array(self.edges, np.int64)}

    @staticmethod
    def nbytes(n_classes: int, dim: int) -> int:
        """Return the largest size of the arrays without `edges`, bytes, for at most `n_classes` classes with rows."""
        return 4 * (n_classes * (dim + 1) + dim * (dim + 1))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the detector of these `arrays`. Raises ValueError if names, shapes or edges do not fit together."""
        edges, W = (arrays.get(name, np.zeros((0, 0))) for name in ("edges", "W"))
        n_classes, dim = W.shape if W.ndim == 2 else (0, 0)
        shapes = {"W": (n_classes, dim), "b": (n_classes,), "centre": (dim,), "Q": (dim, dim)}
        expected = {name: (shape, "float32") for name, shape in shapes.items()}
        require_shapes(arrays, expected | {"edges": ((edges.size,), "int64")})
        ends = tuple(edges.tolist())
        if n_classes == 0 or (ends and (ends[0] != 0 or ends[-1] != dim or (np.diff(ends) <= 0).any())):
            raise ValueError(f"{n_classes} classes, and blocks {ends} of {dim} columns")
        return cls(ends, *(arrays[name] for name in shapes))


def quadratic_form(z: NDArray[np.float32], Q: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return zᵀ Q z (n,) for rows z (n, d) and a symmetric Q (d, d).

    For many rows, blocks below the diagonal are left out, because they equal those above it: 5/8 of the products.
    """
    if len(z) < MANY_ROWS:
        return np.asarray(np.einsum("ij,ij->i", z @ Q, z))
    total = np.zeros(len(z), np.float32)
    edges = np.linspace(0, z.shape[1], BLOCKS + 1).astype(int).tolist()
    for start, stop in pairwise(edges):
        part = z[:, start:stop]
        product = part @ Q[start:stop, start:stop]
        if start:
            product += 2 * (z[:, :start] @ Q[:start, start:stop])
        total += np.einsum("ij,ij->i", product, part)
    return total


def inverse(covariance: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    """Return the inverse of (1 - λ) C + λ (tr C / d) I, (d, d)."""
    return inverse_of_covariance(shrunk(covariance, shrinkage))


def doubt(proba: NDArray[Any]) -> NDArray[Any]:
    """Return 1 - the largest probability, (n,): the usual baseline (Hendrycks and Gimpel 2017, arXiv 1610.02136)."""
    return np.asarray(1 - proba.max(axis=1))
