"""Transforms of vectors before a head scores them: unit norm, an affine map, random features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

PREFIX = "transform."
"""Prefix of the names of a transform's arrays among the arrays of a head."""


@dataclass(frozen=True, slots=True)
class Transform:
    """x → z: set each block of columns to unit norm, then x @ matrix + offset, then max(0, ·). Each part is optional.

    Vectors are stored raw. The transform is part of the head, because it changes results (arXiv 2312.14400).

    Attributes:
        dim: width d of x.
        unit: column edges (0, …, d) of the blocks that are set to unit norm, one block an encoder; () for none. A
            block of zeros stays zero.
        matrix: (d, m), or None for the identity.
        offset: (m,), or None for 0.
        relu: True if negative values become 0 (random features as in RanPAC, arXiv 2307.02251).
    """

    dim: int
    unit: tuple[int, ...] = ()
    matrix: NDArray[Any] | None = None
    offset: NDArray[Any] | None = None
    relu: bool = False

    @property
    def width(self) -> int:
        """Width m of z."""
        return self.dim if self.matrix is None else int(self.matrix.shape[1])

    @property
    def affine(self) -> bool:
        """True if there is an affine map that can be folded into linear scores."""
        return not self.relu and (self.matrix is not None or self.offset is not None)

    @property
    def rowwise(self) -> Self:
        """The part that cannot be folded into linear scores: the unit norm, or everything with random features."""
        return self if self.relu else replace(self, matrix=None, offset=None)

    def __call__(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return z (n, m) of x (n, d), in the precision of X. The input is never changed, but may be returned."""
        Z = unit_blocks(X, self.unit)
        if self.matrix is not None:
            Z = Z @ self.matrix.astype(Z.dtype, copy=False)
        if self.offset is not None:
            Z = Z + self.offset.astype(Z.dtype, copy=False)
        return np.maximum(Z, 0) if self.relu else Z

    def then(self, matrix: NDArray[Any]) -> Self:
        """Return the transform followed by a product with `matrix` (m, r). Raises ValueError after random features."""
        if self.relu:
            raise ValueError("no matrix can follow max(0, ·)")
        whole = matrix if self.matrix is None else self.matrix @ matrix
        return replace(self, matrix=whole, offset=None if self.offset is None else self.offset @ matrix)

    def folded(self, W: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (W, b) of the same linear scores for `rowwise(x)` instead of z: (K, m) → (K, d), exact."""
        if not self.affine:
            return W, b
        constant = b if self.offset is None else b + W @ self.offset
        return (W if self.matrix is None else W @ self.matrix.T), constant

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        named = {"matrix": self.matrix, "offset": self.offset}
        return {PREFIX + name: each.astype(np.float32) for name, each in named.items() if each is not None}

    def settings(self) -> dict[str, Any]:
        """Return everything but the arrays, JSON-serialisable; empty for the identity, as in protocol 1."""
        if not self.unit and self.matrix is None and self.offset is None:
            return {}
        described = {"dim": self.dim, "unit": list(self.unit), "relu": self.relu, "width": self.width}
        return {"transform": {**described, "arrays": [name.removeprefix(PREFIX) for name in self.arrays()]}}

    @staticmethod
    def shapes(settings: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return the shapes and dtypes of the arrays that `settings` describe. Raises KeyError, TypeError."""
        described = settings.get("transform", {"arrays": []})
        known = {"matrix": ("dim", "width"), "offset": ("width",)}
        return {
            PREFIX + name: (tuple(described[length] for length in known[name]), "float32")
            for name in described["arrays"]
        }

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], width: int) -> Self:
        """Return the transform of these `settings` and `arrays`, whose shapes were checked.

        Args:
            width: width of the identity, if the settings describe no transform.

        Raises:
            ValueError, KeyError, TypeError: settings that do not describe a transform.
        """
        described = settings.get("transform", {"dim": width, "unit": (), "relu": False})
        dim = int(described["dim"])
        unit = check_edges(described["unit"], dim) if described["unit"] else ()
        return cls(dim, unit, arrays.get(PREFIX + "matrix"), arrays.get(PREFIX + "offset"), bool(described["relu"]))


def unit_blocks(X: NDArray[Any], edges: Sequence[int]) -> NDArray[Any]:
    """Return X (n, d) with each block of columns [edges[i], edges[i + 1]) at unit norm; X itself without edges."""
    if not edges:
        return X
    if len(edges) == 2:
        return unit_rows(X)
    return np.concatenate([unit_rows(X[:, start:stop]) for start, stop in pairwise(edges)], axis=1)


NORM_ROWS = 256
"""Number of rows that are set to unit norm at a time. Their float64 copies stay in the cache."""


def unit_rows(X: NDArray[Any]) -> NDArray[Any]:
    """Return the rows of X (n, d) divided by their L2 norm; a row of zeros stays zero.

    The products are in float64, so that no norm overflows.
    """
    units = np.empty(X.shape, X.dtype if X.dtype.kind == "f" else np.float64)
    for start in range(0, len(X), NORM_ROWS):
        part = X[start : start + NORM_ROWS].astype(np.float64)
        norms = np.sqrt(np.vecdot(part, part))
        norms[norms == 0] = 1.0
        with np.errstate(invalid="ignore"):  # infinity becomes NaN, which callers refuse
            units[start : start + NORM_ROWS] = np.divide(part, norms[:, None], out=part)
    return units


def check_edges(edges: Sequence[int], dim: int) -> tuple[int, ...]:
    """Return the column edges of blocks as a tuple. Raises ValueError unless they rise from 0 to `dim`."""
    found = tuple(int(edge) for edge in edges)
    if len(found) < 2 or (found[0], found[-1]) != (0, dim) or any(a >= b for a, b in pairwise(found)):
        raise ValueError(f"blocks must be column edges that rise from 0 to {dim}, the width of X, got {found}")
    return found
