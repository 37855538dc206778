"""Adapters: a learned map from an encoder's vectors to a new space, in NumPy.

An adapter and its parent encoder make a derived encoder, ``<parent>+mlcd-<version>`` (see `embedder.derived.encoders`).
How one is learned is no concern of this package.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedder.spec import EncoderSpec

FORMAT = 1
"""Of the arrays and of what is computed from them; part of the digest. Raise it when either changes."""

LINEAR = ("mean", "weight")
HIDDEN = ("hidden_weight", "hidden_bias", "hidden_out")


@dataclass(frozen=True, eq=False)
class Adapter:
    """g(x) = unit(A z [+ V relu(U z + c)]) with z = unit(unit(x) − mean).

    Its output has unit norm, because only directions are learned: lengths would be accidents.

    Attributes:
        arrays: float32: mean (d,), weight A (D, d), and, for one with a hidden layer, hidden_weight U (H, d),
            hidden_bias c (H,), hidden_out V (D, H).
    """

    arrays: Mapping[str, NDArray[np.float32]]
    kind: ClassVar[str] = "mlcd"

    def __post_init__(self) -> None:
        """Raises ValueError for names, shapes, types or values that make no adapter."""
        names = set(self.arrays)
        if names not in ({*LINEAR}, {*LINEAR, *HIDDEN}):
            raise ValueError(f"an adapter has the arrays {LINEAR}, and {HIDDEN} or none of them; got {sorted(names)}")
        if self.arrays["weight"].ndim != 2:
            raise ValueError(f"array 'weight' has shape {self.arrays['weight'].shape}, expected two dimensions")
        shapes = self._shapes()
        for name, array in self.arrays.items():
            if array.shape != shapes[name] or array.dtype != np.float32:
                raise ValueError(f"array {name!r} is {array.dtype} {array.shape}, expected float32 {shapes[name]}")
            if not np.isfinite(array).all():
                raise ValueError(f"array {name!r} holds NaN or infinity")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        D, d = self.arrays["weight"].shape
        H = self.arrays["hidden_bias"].size if "hidden_bias" in self.arrays else 0
        return {"mean": (d,), "weight": (D, d), "hidden_weight": (H, d), "hidden_bias": (H,), "hidden_out": (D, H)}

    @property
    def input_dim(self) -> int:
        return int(self.arrays["weight"].shape[1])

    @property
    def dim(self) -> int:
        return int(self.arrays["weight"].shape[0])

    @cached_property
    def digest(self) -> str:
        """sha256 over names, shapes and values, and over `FORMAT`."""
        return digest_of(f"adapter {FORMAT}", self.arrays)

    def spec(self, parent: EncoderSpec) -> EncoderSpec:
        """Of the derived encoder. It takes no texts: they do not lie where the mean of the images is theirs too."""
        return replace(
            parent,
            output="adapted",
            dim=self.dim,
            tokens=None,
            text=None,
            parent=parent.fingerprint,
            adapter=self.digest,
        )

    def __call__(self, X: ArrayLike) -> NDArray[np.float32]:
        """Raw vectors of the parent (n, d) → (n, D) float32 of unit norm. Raises ValueError for another width."""
        vectors = np.asarray(X, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.input_dim:
            raise ValueError(f"this adapter takes vectors of shape (n, {self.input_dim}), not {vectors.shape}")
        a = self.arrays
        Z = _unit(_unit(vectors) - a["mean"])
        out = Z @ a["weight"].T
        if "hidden_weight" in a:
            out += np.maximum(Z @ a["hidden_weight"].T + a["hidden_bias"], 0) @ a["hidden_out"].T
        return _unit(out)


def _unit(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length one; a row of zeros stays."""
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(norms > 0, norms, 1), np.float32)


def digest_of(header: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """sha256 over the header, and names, shapes and values, taken as float32."""
    total = hashlib.sha256(f"{header}\n".encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], "<f4")
        total.update(f"{name} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()
