"""Condensers: fewer and narrower patch tokens, for stores that would not hold them whole, in NumPy.

A condenser and its parent encoder make a derived encoder, ``<parent>+tokens-<version>``, with the parent's vectors
(see `embedder.derived.encoders`). How the components are learned is no concern of this package.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedder.derived.adapter import digest_of
from embedder.spec import EncoderSpec

FORMAT = 1
"""Of the arrays and of what is computed from them; part of the digest. Raise it when either changes."""


@dataclass(frozen=True, eq=False)
class Condenser:
    """The mean of every `pool` × `pool` neighbours of the map; each, less `mean`, onto the principal components.

    At the right and lower edge of a map that `pool` does not divide, the mean is over the neighbours there are.

    Attributes:
        arrays: float32: pool (1,), and mean (F,) and components (C, F), or neither of them.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    kind: ClassVar[str] = "tokens"

    def __post_init__(self) -> None:
        """Raises ValueError for arrays that make no condenser."""
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
        """sha256 over names, shapes and values, and over `FORMAT`."""
        return digest_of(f"condenser {FORMAT}", self.arrays)

    def spec(self, parent: EncoderSpec) -> EncoderSpec:
        """Of the derived encoder, which takes texts as its parent does. Raises ValueError: tokens that do not fit."""
        if parent.tokens is None:
            raise ValueError(f"{parent.architecture} gives no tokens that could be condensed")
        return replace(parent, tokens=self.shape(parent.tokens), parent=parent.fingerprint, adapter=self.digest)

    def shape(self, tokens: tuple[int, int]) -> tuple[int, int]:
        """(P, F) of the parent → of what is left. Raises ValueError for another width, and for pooling of no map."""
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
        """Raw tokens of the parent (n, P, F) → (n, P', F') float16. Raises ValueError for a shape that does not fit."""
        given: NDArray[np.float32] = np.asarray(tokens, np.float32)
        if given.ndim != 3:
            raise ValueError(f"tokens (n, P, F) are needed, not {given.shape}")
        shape = self.shape((given.shape[1], given.shape[2]))
        found = pool(given, self.pool)
        if "mean" in self.arrays:
            found = np.matmul(found - self.arrays["mean"], self.arrays["components"].T)
        return found.reshape(len(given), *shape).astype(np.float16)


def pool(tokens: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Means of `size` × `size` neighbours: (n, P, F), a square map row by row → (n, ceil(√P / size)², F)."""
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
        raise ValueError(f"{count} tokens are no square map whose neighbours could be pooled; leave pooling out")
    return side
