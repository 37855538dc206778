"""Condensers: token reduction in NumPy. Fewer and narrower patch tokens need less space in a store.

A condenser and its parent encoder make a derived encoder, ``<parent>+tokens-<version>``, with the parent's vectors
(see `embedder.derived.encoders`). This module applies condensers; it does not learn them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedder.derived.adapter import digest_of
from embedder.encoder import Network
from embedder.errors import ExportFailed
from embedder.spec import EncoderSpec


@dataclass(frozen=True, eq=False)
class Condenser:
    """Averages each block of `pool` × `pool` tokens, then projects (token − mean) onto principal components.

    If `pool` does not divide the side of the map, the cells at the right and lower edge average fewer neighbours.

    Attributes:
        arrays: float32 pool (1,), and either both mean (F,) and components (C, F) or neither.
        format: version of the layout of the arrays and of the computation. It is part of the digest; raise it when
            either changes.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    kind: ClassVar[str] = "tokens"
    format: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Raises ValueError for wrong names, shapes, types or values."""
        names = set(self.arrays)
        if names not in ({"pool"}, {"pool", "mean", "components"}):
            raise ValueError(f"a condenser has 'pool', and 'mean' and 'components' or neither; got {sorted(names)}")
        given = self.arrays["pool"]
        if given.shape != (1,) or not (given[0] >= 1 and given[0] == np.floor(given[0])):
            raise ValueError(f"pool must be one whole number of at least 1, not {given.tolist()}")
        if "mean" in names:
            mean, components = self.arrays["mean"], self.arrays["components"]
            if mean.ndim != 1 or components.ndim != 2 or components.shape[1] != mean.size or not len(components):
                raise ValueError(f"mean (F,) and components (C, F) are needed, not {mean.shape}, {components.shape}")
        for name, array in self.arrays.items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"array {name!r} must be finite float32, it is {array.dtype}")

    @property
    def pool(self) -> int:
        return int(self.arrays["pool"][0])

    @cached_property
    def digest(self) -> str:
        """The sha256 over names, shapes and values, and over `format`."""
        return digest_of(f"condenser {self.format}", self.arrays)

    def spec(self, parent: EncoderSpec) -> EncoderSpec:
        """Return the spec of the derived encoder. It takes texts if its parent does.

        Raises ValueError for a parent without tokens, and for tokens that do not fit (see `shape`).
        """
        if parent.tokens is None:
            raise ValueError(f"{parent.architecture} gives no tokens to reduce")
        return replace(parent, tokens=self.shape(parent.tokens), parent=parent.fingerprint, adapter=self.digest)

    def shape(self, tokens: tuple[int, int]) -> tuple[int, int]:
        """Return (P', F') for the parent's (P, F).

        Raises ValueError for another width, and for pooling P tokens that are not a square map.
        """
        count, width = tokens
        if self.pool > 1:
            count = (-(-_side(count) // self.pool)) ** 2
        if "mean" not in self.arrays:
            return count, width
        components = self.arrays["components"]
        if width != components.shape[1]:
            raise ValueError(f"this condenser takes tokens of width {components.shape[1]}, not {width}")
        return count, len(components)

    def __call__(self, tokens: ArrayLike) -> NDArray[np.float16]:
        """Return reduced tokens (n, P', F') float16 for raw tokens (n, P, F).

        Raises ValueError for another shape.
        """
        given: NDArray[np.float32] = np.asarray(tokens, np.float32)
        if given.ndim != 3:
            raise ValueError(f"tokens (n, P, F) are needed, not {given.shape}")
        shape = self.shape((given.shape[1], given.shape[2]))
        found = pool(given, self.pool)
        if "mean" in self.arrays:
            found = np.matmul(found - self.arrays["mean"], self.arrays["components"].T)
        return found.reshape(len(given), *shape).astype(np.float16)

    def change_vectors(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors (n, d) unchanged: the derived encoder has its parent's vectors."""
        return X

    def change_tokens(self, tokens: NDArray[np.float16]) -> NDArray[np.float16]:
        """Return the derived encoder's tokens (n, P', F') for the parent's (n, P, F)."""
        return self(tokens)

    def change_probe(self, vectors: NDArray[np.float32], assets: int) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the reference vectors (m, d) unchanged."""
        return vectors

    def change_networks(self, parent: Mapping[str, Network]) -> Never:
        """Raises ExportFailed: an ONNX file cannot hold token reduction."""
        raise ExportFailed(
            f"token reduction is not part of an ONNX file; export the parent, whose networks are {', '.join(parent)}"
        )


def pool(tokens: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Average `size` × `size` neighbours of square maps listed row by row: (n, P, F) → (n, ceil(√P / size)², F)."""
    if size == 1:
        return tokens
    n, count, width = tokens.shape
    side = _side(count)
    starts = np.arange(0, side, size)
    held = np.diff(starts, append=side)
    grid = tokens.reshape(n, side, side, width)
    sums = np.add.reduceat(np.add.reduceat(grid, starts, axis=1), starts, axis=2)
    means = sums / np.outer(held, held)[:, :, None].astype(np.float32)
    return np.asarray(means, np.float32).reshape(n, len(starts) ** 2, width)


def _side(count: int) -> int:
    side = math.isqrt(count)
    if side * side != count:
        raise ValueError(f"{count} tokens are not a square map, so neighbours cannot be pooled; leave pooling out")
    return side
