"""Adapters: a learned map from an encoder's vectors to a new space, in NumPy.

An adapter and its parent encoder make a derived encoder, ``<parent>+mlcd-<version>`` (see `embedder.derived.encoders`).
This module applies adapters; it does not learn them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedder.encoder import Network
from embedder.spec import EncoderSpec

LINEAR = ("mean", "weight")
HIDDEN = ("hidden_weight", "hidden_bias", "hidden_out")


@dataclass(frozen=True, eq=False)
class Adapter:
    """g(x) = unit(A z [+ V relu(U z + c)]) with z = unit(unit(x) − mean).

    Its output has unit norm, because only directions are learned; lengths mean nothing.

    Attributes:
        arrays: float32 mean (d,) and weight A (D, d). An adapter with a hidden layer also has hidden_weight U (H, d),
            hidden_bias c (H,) and hidden_out V (D, H).
        format: version of the layout of the arrays and of the computation. It is part of the digest; raise it when
            either changes.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    kind: ClassVar[str] = "mlcd"
    format: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raises ValueError for wrong names, shapes, types or values."""
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
        """The sha256 over names, shapes and values, and over `format`."""
        return digest_of(f"adapter {self.format}", self.arrays)

    def spec(self, parent: EncoderSpec) -> EncoderSpec:
        """Return the spec of the derived encoder. It takes no texts.

        Text vectors have a different mean than image vectors, so the image mean cannot be subtracted from them.
        """
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
        """Return adapted vectors (n, D) float32 of unit norm for the parent's raw vectors (n, d).

        Raises ValueError for another width.
        """
        vectors = np.asarray(X, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.input_dim:
            raise ValueError(f"this adapter takes vectors of shape (n, {self.input_dim}), not {vectors.shape}")
        a = self.arrays
        Z = _unit(_unit(vectors) - a["mean"])
        out = Z @ a["weight"].T
        if "hidden_weight" in a:
            out += np.maximum(Z @ a["hidden_weight"].T + a["hidden_bias"], 0) @ a["hidden_out"].T
        return _unit(out)

    def change_vectors(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the derived encoder's vectors (n, D) for the parent's (n, d)."""
        return self(X)

    def change_tokens(self, tokens: NDArray[np.float16]) -> NDArray[np.float16]:
        """Raises ValueError: a derived encoder with an adapter has no tokens."""
        raise ValueError(f"an adapter changes vectors; tokens of shape {tokens.shape} cannot be adapted")

    def change_probe(self, vectors: NDArray[np.float32], assets: int) -> NDArray[np.float32]:
        """Return the derived encoder's reference vectors for the parent's (m, d), whose first rows are assets."""
        return self(vectors[:assets])

    def change_networks(self, parent: Mapping[str, Network]) -> dict[str, Network]:
        """Return the derived encoder's networks: each of the parent's that returns vectors of assets, then this map."""
        found = {name: each for name, each in parent.items() if each.outputs == ("vectors",) and name != "text"}
        return {name: replace(each, adapters=(*each.adapters, self.arrays)) for name, each in found.items()}


def _unit(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows scaled to length one; a row of zeros stays as it is."""
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(norms > 0, norms, 1), np.float32)


def digest_of(header: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the sha256 over a header and over names, shapes and values, taken as float32."""
    total = hashlib.sha256(f"{header}\n".encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], "<f4")
        total.update(f"{name} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()
