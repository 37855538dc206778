"""Softmax over linear scores: the control that every other head has to beat."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.base import Head, Meta, require_shapes


class LinearHead(Head):
    """scores = X Wᵀ + b. Arrays in float32: W (K, d), b (K,); any standardisation is folded in."""

    kind = "linear"

    def __init__(
        self,
        classes: Sequence[str],
        W: NDArray[np.float32],
        b: NDArray[np.float32],
        temperature: float = 1.0,
    ) -> None:
        super().__init__(classes, temperature)
        self.W, self.b = W, b

    @property
    def dim(self) -> int:
        return int(self.W.shape[1])

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(X @ self.W.T + self.b)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"W": self.W, "b": self.b}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        n_classes = len(meta["classes"])
        dim = arrays["W"].shape[-1] if "W" in arrays and arrays["W"].ndim else 0
        require_shapes(arrays, {"W": ((n_classes, dim), "float32"), "b": ((n_classes,), "float32")})
        return cls(meta["classes"], arrays["W"], arrays["b"], meta["temperature"])
