"""The inputs of heads: an item's vector from one encoder, or its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, order=True)
class Input:
    """One input of a head: the vectors, or the tokens, of one encoder.

    Attributes:
        fingerprint: fingerprint of the encoder.
        tokens: True for all tokens of an image, flattened; False for its vector.
    """

    fingerprint: str
    tokens: bool = False

    def __str__(self) -> str:
        return f"{self.fingerprint} tokens" if self.tokens else self.fingerprint


class Embedded(Protocol):
    """The result for one item and one `Input`. Without vector and error, the item was not embedded for this input."""

    @property
    def vector(self) -> NDArray[np.float32] | None:
        """The vector or the flattened tokens, (d,)."""

    @property
    def error(self) -> object | None:
        """The reason why there is no vector."""


ByInput = Mapping[Input, Sequence[Embedded]]
"""For each input, all items of a request in the same order."""
