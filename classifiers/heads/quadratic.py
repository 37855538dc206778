"""Quadratic functions of vectors, the score of every Gaussian component whatever its covariance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

CHUNK_CELLS = 2**24
"""Most projections at a time: 64 MB of float32. With a quarter of it 100 classes × 512 dimensions were scored at little
more than half the rate, because few rows make a thin product."""


@dataclass(frozen=True, slots=True)
class Quadratic:
    """s_c(z) = b_c + W_c · z + Q_c · z² ± ½ ‖F_c z - o_c‖², for C components, in as few products as can be.

    A precision P = diag(p) - Fᵀ F, a diagonal less a few directions, has Q = -½ p, and the sign is plus. That holds
    for spherical and diagonal Gaussians (no F), and for whole covariances of fewer rows than dimensions, which
    shrinkage leaves with few directions of their own. Without Q the sign is minus, and F is a whole whitening.

    Attributes:
        b: (C,); -inf for a component that is out of use.
        W: (C, d), or None for 0.
        Q: (C, d), or (C, 1) for one number a component, or None.
        F: (C, R, d), or None.
        o: (C, R), with F.
    """

    b: NDArray[Any]
    W: NDArray[Any] | None = None
    Q: NDArray[Any] | None = None
    F: NDArray[Any] | None = None
    o: NDArray[Any] | None = None

    @classmethod
    def of_precisions(
        cls, constants: NDArray[Any], means: NDArray[Any], diagonal: NDArray[Any] | None, F: NDArray[Any] | None
    ) -> Self:
        """constants_c - ½ (z - m_c)ᵀ P_c (z - m_c), where P_c = diag(p_c) - F_cᵀ F_c, or F_cᵀ F_c without a diagonal.

        Args:
            constants: (C,).
            means: (C, d).
            diagonal: p, (C, d) or (C, 1), or None.
            F: (C, R, d), or None.
        """
        F = F if F is not None and F.shape[1] else None
        o = None if F is None else np.einsum("crd,cd->cr", F, means)
        if diagonal is None:
            return cls(constants, F=F, o=o)
        W = diagonal * means
        return cls(constants - 0.5 * np.einsum("cd,cd->c", W, means), W, -0.5 * diagonal, F, o)

    def __call__(self, Z: NDArray[Any]) -> NDArray[Any]:
        """Scores (n, C) of Z (n, d), in the precision of its arrays."""
        scores = self._plain(Z)
        if self.F is None or self.o is None:
            return scores
        C, R, dim = self.F.shape
        directions, origins = self.F.reshape(C * R, dim).T, self.o.reshape(C * R)
        rows = max(1, CHUNK_CELLS // max(1, C * R))
        for start in range(0, len(Z), rows):
            P = Z[start : start + rows] @ directions
            P -= origins
            P = P.reshape(-1, C, R)
            scores[start : start + rows] += (-0.5 if self.Q is None else 0.5) * np.einsum("ncr,ncr->nc", P, P)
        return scores

    def _plain(self, Z: NDArray[Any]) -> NDArray[Any]:
        scores = np.broadcast_to(self.b, (len(Z), len(self.b))) if self.W is None else Z @ self.W.T + self.b
        if self.Q is None:
            return scores.copy() if self.W is None else scores
        if self.Q.shape[1] == 1:
            return np.asarray(scores + np.einsum("nd,nd->n", Z, Z)[:, None] * self.Q[:, 0])
        return np.asarray(scores + (Z * Z) @ self.Q.T)

    def named(self) -> dict[str, NDArray[Any]]:
        """Its arrays, by name."""
        arrays = {name: getattr(self, name) for name in self.__slots__}
        return {name: array for name, array in arrays.items() if array is not None}

    def over(self, scale: float) -> Self:
        """The same functions of vectors that were not divided by `scale`."""
        powers = {"W": 1, "Q": 2, "F": 1}
        return type(self)(**{name: array / scale ** powers.get(name, 0) for name, array in self.named().items()})

    def astype(self, dtype: type[np.floating[Any]]) -> Self:
        return type(self)(**{name: array.astype(dtype) for name, array in self.named().items()})

    @property
    def form(self) -> tuple[int, int]:
        """Columns of Q and rows R of F, 0 for none: what tells its shapes, given C and d."""
        return (0 if self.Q is None else self.Q.shape[1]), (0 if self.F is None else self.F.shape[1])

    @staticmethod
    def shapes(form: Sequence[int], n_components: int, dim: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shapes and dtypes of the arrays of a Quadratic of that form."""
        columns, rank = form
        shapes: dict[str, tuple[int, ...]] = {"b": (n_components,)}
        if columns or not rank:
            shapes["W"] = (n_components, dim)
        if columns:
            shapes["Q"] = (n_components, columns)
        if rank:
            shapes |= {"F": (n_components, rank, dim), "o": (n_components, rank)}
        return {name: (shape, "float32") for name, shape in shapes.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `named`, for arrays of the right shapes; those of other names are left alone."""
        return cls(**{name: arrays[name] for name in cls.__slots__ if name in arrays})


def of_classes(scores: NDArray[Any], n_classes: int) -> NDArray[Any]:
    """log Σ_g exp s_kg: component scores (n, K·G), class by class, → class scores (n, K)."""
    if scores.shape[1] == n_classes:
        return scores
    grouped = scores.reshape(len(scores), n_classes, scores.shape[1] // n_classes)
    parts = np.ascontiguousarray(np.moveaxis(grouped, 2, 0))  # over a short last axis NumPy takes ten times as long
    top = parts.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):  # a class whose components are all out of use scores -inf
        return np.asarray(np.log(np.exp(parts - top).sum(axis=0)) + top)
