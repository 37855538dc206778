"""Softmax over linear scores: the baseline that every other head has to beat."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.base import Head, Meta, require_shapes
from classifiers.heads.transform import Transform


class LinearHead(Head):
    """Linear scores z Wᵀ + b of the transformed vector z. Arrays in float32: W (K, m), b (K,).

    Standardisation and the affine part of the transform are folded into W and b; m = d unless the transform makes
    random features.
    """

    kind = "linear"

    def __init__(
        self,
        classes: Sequence[str],
        W: NDArray[np.float32],
        b: NDArray[np.float32],
        transform: Transform | None = None,
        temperature: float = 1.0,
        chosen: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a head. `chosen` are parameters that training chose; they are kept in the settings, without effect."""
        super().__init__(classes, temperature)
        self.chosen = dict(chosen or {})
        self.W, self.b, self.transform = W, b, transform or Transform(W.shape[1])

    @property
    def dim(self) -> int:
        return self.transform.dim

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self.transform(X) @ self.W.T + self.b)

    def settings(self) -> dict[str, Any]:
        return self.transform.settings() | self.chosen

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"W": self.W, "b": self.b} | self.transform.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        n_classes, settings = len(meta["classes"]), meta["settings"]
        width = arrays["W"].shape[-1] if "W" in arrays and arrays["W"].ndim else 0
        shapes = {"W": ((n_classes, width), "float32"), "b": ((n_classes,), "float32")}
        require_shapes(arrays, shapes | Transform.shapes(settings))
        transform = Transform.from_arrays(settings, arrays, width)
        chosen = {name: value for name, value in settings.items() if name != "transform"}
        return cls(meta["classes"], arrays["W"], arrays["b"], transform, meta["temperature"], chosen)
