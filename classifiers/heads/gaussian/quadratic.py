"""Quadratic functions of vectors: the score of a Gaussian component with any covariance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

CHUNK_CELLS = 2**24
"""Maximum number of projections at a time: 64 MB of float32. With a quarter of that, 100 classes × 512 dimensions were
scored at little more than half the rate, because few rows make a thin product."""

TRIANGLE_ROWS = 64
"""Rows of a triangular whitening that are multiplied at a time, without the columns that are 0 in all of them. At 512
dimensions that is an eighth more products than needed. 128 and 256 rows at a time were slower, both for one row of Z
and for 256."""


@dataclass(frozen=True)
class Quadratic:
    """C quadratic functions of a vector z, computed in as few matrix products as possible.

        s_c(z) = b_c + W_c · z + Q_c · z² ± ½ ‖F_c z - o_c‖²

    With Q the sign is plus: a precision P = diag(p) - Fᵀ F, a diagonal minus a few directions, has Q = -½ p. These are
    spherical and diagonal Gaussians (no F), and full covariances of fewer rows than dimensions, for which shrinkage
    leaves few directions. Without Q the sign is minus, and F is a full whitening, cheapest if `triangular`. The arrays
    are laid out for the products at the first call, and kept.

    Attributes:
        b: (C,); -inf for a component without rows.
        W: (C, d), or None for 0.
        Q: (C, d), or (C, 1) for one number per component, or None.
        F: (C, R, d), or None.
        o: (C, R); None if F is None.
    """

    ARRAYS: ClassVar = ("b", "W", "Q", "F", "o")

    b: NDArray[Any]
    W: NDArray[Any] | None = None
    Q: NDArray[Any] | None = None
    F: NDArray[Any] | None = None
    o: NDArray[Any] | None = None

    @classmethod
    def of_precisions(
        cls, constants: NDArray[Any], means: NDArray[Any], diagonal: NDArray[Any] | None, F: NDArray[Any] | None
    ) -> Self:
        """Return the functions constants_c - ½ (z - m_c)ᵀ P_c (z - m_c) of Gaussian components.

        The precision P_c is diag(p_c) - F_cᵀ F_c, or F_cᵀ F_c if p is None.

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

    def triangular(self) -> Self:
        """Return the same functions with full whitenings F_c upper triangular, which takes half the time to score.

        ‖F z - o‖ = ‖R z - Qᵀ o‖ for F = Q R, and one decomposition of (F, o) gives both.
        """
        if self.F is None or self.o is None or self.Q is not None:
            return self
        R = np.asarray(np.linalg.qr(np.concatenate([self.F, self.o[:, :, None]], axis=2), mode="r"))
        return type(self)(self.b, self.W, F=R[:, :, :-1], o=R[:, :, -1])

    def __call__(self, Z: NDArray[Any]) -> NDArray[Any]:
        """Return the scores (n, C) of Z (n, d), in the precision of the arrays."""
        scores, C = self._without_directions(Z), len(self.b)
        sign = -0.5 if self.Q is None else 0.5
        for first, directions, origins in self._directions:
            rows = max(1, CHUNK_CELLS // len(origins))
            for start in range(0, len(Z), rows):
                P = directions @ Z[start : start + rows, first:].T
                P -= origins
                P = P.reshape(C, len(origins) // C, P.shape[1])
                scores[start : start + rows] += sign * np.einsum("crn,crn->nc", P, P)
        return scores

    def _without_directions(self, Z: NDArray[Any]) -> NDArray[Any]:
        """Return b + W z + Q z², (n, C). It is computed as W Zᵀ, which takes half as long as Z Wᵀ for few rows."""
        if self.W is None and self.Q is None:
            return np.tile(self.b, (len(Z), 1))
        powers = [Z] if self.W is not None else []
        if self.Q is not None:
            powers.append(Z * Z if self.Q.shape[1] > 1 else np.einsum("nd,nd->n", Z, Z)[:, None])
        scores = self._plane @ (powers[0] if len(powers) == 1 else np.concatenate(powers, axis=1)).T
        scores += self.b[:, None]
        return np.asarray(scores.T)

    @cached_property
    def _plane(self) -> NDArray[Any]:
        """W and Q side by side, so that one product is enough: (C, columns)."""
        return np.concatenate([each for each in (self.W, self.Q) if each is not None], axis=1)

    @cached_property
    def _directions(self) -> list[tuple[int, NDArray[Any], NDArray[Any]]]:
        """All F_c as products: first column of Z, directions (C · rows, columns), origins (C · rows, 1)."""
        if self.F is None or self.o is None or not self.F.shape[1]:
            return []
        _, rank, dim = self.F.shape
        triangular = rank == dim and not any(np.tril(each, -1).any() for each in self.F)
        step = TRIANGLE_ROWS if triangular else rank
        made = []
        for start in range(0, rank, step):
            first = start if triangular else 0
            some, origins = self.F[:, start : start + step, first:], self.o[:, start : start + step]
            made.append((first, some.reshape(-1, dim - first), origins.reshape(-1, 1)))
        return made

    def named(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are not None, by name."""
        arrays = {name: getattr(self, name) for name in self.ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}

    def over(self, scale: NDArray[Any]) -> Self:
        """Return the same functions for vectors that are not divided by `scale` (d,) first."""
        powers = {"W": 1, "Q": 2, "F": 1}
        scaled = {name: array / scale ** powers[name] for name, array in self.named().items() if name in powers}
        return replace(self, **scaled)

    def astype(self, dtype: type[np.floating[Any]]) -> Self:
        """Return the same functions in another precision."""
        return type(self)(**{name: array.astype(dtype, order="C") for name, array in self.named().items()})

    @property
    def form(self) -> tuple[int, int]:
        """Number of columns of Q, and number R of rows of F; 0 if None. With C and d, they determine all shapes."""
        return (0 if self.Q is None else self.Q.shape[1]), (0 if self.F is None else self.F.shape[1])

    @staticmethod
    def shapes(form: Sequence[int], n_components: int, dim: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return the shapes and dtypes of the arrays of a Quadratic of this `form`."""
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
        """Return the Quadratic of `named` arrays, whose shapes were checked. Arrays of other names are ignored."""
        return cls(**{name: arrays[name] for name in cls.ARRAYS if name in arrays})


def of_classes(scores: NDArray[Any], n_classes: int) -> NDArray[Any]:
    """Return class scores log Σ_g exp s_kg, (n, K), from component scores (n, K·G), class by class."""
    if scores.shape[1] == n_classes:
        return scores
    grouped = scores.T.reshape(n_classes, scores.shape[1] // n_classes, len(scores))
    parts = np.ascontiguousarray(np.moveaxis(grouped, 1, 0))
    top = np.maximum(parts.max(axis=0), np.finfo(parts.dtype).min)  # finite even if all components are -inf
    parts -= top
    total = np.exp(parts, out=parts).sum(axis=0)
    with np.errstate(divide="ignore"):  # a class whose components are all -inf scores -inf
        np.log(total, out=total)
    total += top
    return np.asarray(total.T)
