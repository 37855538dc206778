"""One Gaussian a class with one shared covariance: its statistics, and in closed form all that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import NotTrainable
from classifiers.heads.base import Head, Meta, require_shapes
from classifiers.heads.statistics import GaussianStatistics, oas_shrinkage

Shrinkage = float | Literal["oas"]
Priors = Literal["empirical", "uniform"]


@dataclass(frozen=True, slots=True)
class Discriminant:
    """The Gaussian model folded for scoring, float64. P = C⁻¹ = A Aᵀ, c the mean of all rows.

    Attributes:
        W: P (m_k - c) as rows, (K, d).
        b: log π_k - ½ (m_k - c)ᵀ P (m_k - c) - W_k · c, (K,); -inf for classes without rows.
        centre: c, (d,).
        whitening: A, upper triangular (d, d): rows of (X - c) A have the identity as within-class covariance.
        shrinkage: the shrinkage that was used.
    """

    W: NDArray[np.float64]
    b: NDArray[np.float64]
    centre: NDArray[np.float64]
    whitening: NDArray[np.float64]
    shrinkage: float


def discriminant(statistics: GaussianStatistics, shrinkage: Shrinkage, priors: Priors) -> Discriminant:
    """Linear discriminant functions of Gaussians with the covariance (1 - λ) C + λ (tr C / d) I.

    Centring all means on c takes the same term from every score (the softmax does not see it) and keeps the
    scores small, hence exact in float32. Hastie, Tibshirani, Friedman: Elements of Statistical Learning, 4.3.

    Raises:
        NotTrainable: no rows, no within-class scatter, or a singular covariance (with a small `shrinkage`).
    """
    if statistics.rows == 0:
        raise NotTrainable("no rows: a Gaussian needs at least two rows in one class")
    covariance, used = shrunk_covariance(statistics, shrinkage)
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise NotTrainable(
            f"the covariance of {statistics.rows} rows in {statistics.dim} dimensions is singular with "
            f"shrinkage {used:g}; use shrinkage='oas' or a larger one"
        ) from None
    whitening = np.linalg.solve(lower, np.eye(statistics.dim)).T
    centre = statistics.centre()
    whitened = np.where(statistics.present[:, None], statistics.means() - centre, 0.0) @ whitening
    W = whitened @ whitening.T
    b = log_priors(statistics.counts, priors) - 0.5 * np.sum(whitened**2, axis=1) - W @ centre
    return Discriminant(W, b, centre, whitening, used)


def shrunk_covariance(statistics: GaussianStatistics, shrinkage: Shrinkage) -> tuple[NDArray[np.float64], float]:
    """(1 - λ) C + λ (tr C / d) I, and λ. Raises NotTrainable when C is zero."""
    covariance = statistics.covariance()
    scale = np.trace(covariance) / statistics.dim
    if scale == 0:
        raise NotTrainable(
            f"no class has two different rows ({statistics.rows} rows in "
            f"{np.count_nonzero(statistics.present)} classes): no covariance can be estimated"
        )
    used = oas_shrinkage(covariance, statistics.rows) if shrinkage == "oas" else float(shrinkage)
    covariance *= 1.0 - used
    covariance[np.diag_indices_from(covariance)] += used * scale
    return covariance, used


def log_priors(counts: NDArray[np.float64], priors: Priors) -> NDArray[np.float64]:
    """log π_k: the classes' shares of the rows, or the same for every class with rows; -inf without rows."""
    weights = counts if priors == "empirical" else (counts > 0).astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights / weights.sum()))


class GaussianHead(Head):
    """p(x | k) = N(m_k, C), one C for all classes.

    The artifact keeps the float64 `statistics`, so heads can be merged, or rows taken away, without the rows.
    Arrays in float32: W (K, d), b (K,), centre (d,), whitening (d, d), as in `Discriminant`.
    """

    kind = "gaussian"

    def __init__(
        self,
        classes: Sequence[str],
        statistics: GaussianStatistics,
        folded: Mapping[str, NDArray[np.float32]],
        settings: Mapping[str, Any],
        temperature: float = 1.0,
    ) -> None:
        super().__init__(classes, temperature)
        self.statistics = statistics
        self.W, self.b = folded["W"], folded["b"]
        self.centre, self.whitening = folded["centre"], folded["whitening"]
        self._settings = dict(settings)
        log_det = np.log(np.diag(self.whitening).astype(np.float64)).sum()  # of A: half that of P
        self._log_norm = np.float32(log_det - 0.5 * self.dim * np.log(2 * np.pi))

    @classmethod
    def from_statistics(
        cls,
        classes: Sequence[str],
        statistics: GaussianStatistics,
        *,
        shrinkage: Shrinkage = "oas",
        priors: Priors = "empirical",
    ) -> Self:
        """The head that follows from `statistics`. Raises NotTrainable, see `discriminant`."""
        solved = discriminant(statistics, shrinkage, priors)
        return cls.from_discriminant(classes, statistics, solved, shrinkage=shrinkage, priors=priors)

    @classmethod
    def from_discriminant(
        cls,
        classes: Sequence[str],
        statistics: GaussianStatistics,
        solved: Discriminant,
        *,
        shrinkage: Shrinkage,
        priors: Priors,
    ) -> Self:
        folded = {name: getattr(solved, name).astype(np.float32) for name in FOLDED}
        settings = {"shrinkage": shrinkage, "shrinkage_used": solved.shrinkage, "priors": priors}
        return cls(classes, statistics, folded, settings)

    @property
    def dim(self) -> int:
        return int(self.W.shape[1])

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """log π_k + log N(x; m_k, C), less a term that all classes share: (n, K)."""
        return np.asarray(X @ self.W.T + self.b)

    def log_density(self, X: ArrayLike) -> NDArray[np.float32]:
        """log p(x) = log Σ_k π_k N(x; m_k, C), in nats, (n,). Raises BadVectors.

        The term that `score` leaves out is the log density of N(c, C), so one whitening is enough.
        """
        scores = self.scores(X)
        top = scores.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
        z = (np.asarray(X, dtype=np.float32) - self.centre) @ self.whitening
        return np.asarray(log_sum - 0.5 * np.einsum("ij,ij->i", z, z) + self._log_norm)

    def settings(self) -> dict[str, Any]:
        return dict(self._settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in FOLDED} | {
            name: getattr(self.statistics, name) for name in STATISTICS
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        n_classes = len(meta["classes"])
        dim = arrays["centre"].shape[-1] if "centre" in arrays and arrays["centre"].ndim else 0
        of_class, square = (n_classes, dim), (dim, dim)
        shapes = {"W": of_class, "b": (n_classes,), "centre": (dim,), "whitening": square}
        counted = {"counts": (n_classes,), "sums": of_class, "second": square}
        require_shapes(
            arrays,
            {name: (shape, "float32") for name, shape in shapes.items()}
            | {name: (shape, "float64") for name, shape in counted.items()},
        )
        statistics = GaussianStatistics(*(arrays[name] for name in STATISTICS))
        return cls(meta["classes"], statistics, arrays, meta["settings"], meta["temperature"])


FOLDED = ("W", "b", "centre", "whitening")
STATISTICS = ("counts", "sums", "second")
