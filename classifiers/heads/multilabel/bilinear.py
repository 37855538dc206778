"""Labels by the cosine of image and text vectors, with a learned low-rank correction."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.heads.base import Meta, require_shapes
from classifiers.heads.multilabel.base import Thresholds
from classifiers.heads.multilabel.text import TextHead
from classifiers.heads.text import check_text
from classifiers.heads.transform import unit_rows

Array = NDArray[np.float32]


class BilinearHead(TextHead):
    """score = scale · uᵀ W t + bias, with u = (x - centre) at unit norm and t the label's text vector at unit norm.

    W = I + left rightᵀ if images and texts share a space (`shared`), else W = left rightᵀ. Rank 0 is the cosine alone.
    Arrays in float32: text (L, t), left (d, r), right (t, r), centre (d,), scale (1,), bias (1,), and the thresholds.
    """

    kind = "bilinear"
    offset = "bias"

    def __init__(
        self,
        classes: Sequence[str],
        arrays: Mapping[str, NDArray[Any]],
        shared: bool,
        thresholds: Thresholds | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(classes, thresholds, temperature)
        self.shared = shared
        self._arrays = dict(arrays)
        self._W = self._arrays["scale"] * bilinear_rows(self._arrays, shared)

    @classmethod
    def cosine(
        cls,
        classes: Sequence[str],
        text: ArrayLike,
        *,
        centre: ArrayLike | None = None,
        scale: float = 1.0,
        bias: float = 0.0,
    ) -> Self:
        """Return the head without training: scale · cos(x - centre, text) + bias. Raises BadVectors, ValueError."""
        vectors = check_text(text, len(classes))
        d = vectors.shape[1]
        arrays = {
            "text": vectors,
            "left": np.zeros((d, 0), np.float32),
            "right": np.zeros((d, 0), np.float32),
            "centre": np.zeros(d, np.float32) if centre is None else np.asarray(centre, np.float32),
            "scale": np.array([scale], np.float32),
            "bias": np.array([bias], np.float32),
            **Thresholds.even(len(classes)).arrays(),
        }
        return cls.from_arrays(arrays, {"classes": list(classes), "temperature": 1.0, "settings": {"shared": True}})

    @property
    def dim(self) -> int:
        return len(self._arrays["centre"])

    @property
    def text(self) -> Array:
        return self._arrays["text"]

    def score(self, X: Array) -> Array:
        return np.asarray(unit_rows(X - self._arrays["centre"]) @ self._W.T + self._arrays["bias"])

    def settings(self) -> dict[str, Any]:
        return {"shared": self.shared}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._arrays | self.thresholds.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        shared, L = bool(meta["settings"]["shared"]), len(meta["classes"])
        thresholds, own = Thresholds.split(arrays, L)
        d, r = own["left"].shape if "left" in own and own["left"].ndim == 2 else (0, 0)
        t = d if shared or "right" not in own else len(own["right"])
        shapes = {"text": (L, t), "left": (d, r), "right": (t, r), "centre": (d,), "scale": (1,), "bias": (1,)}
        require_shapes(own, {name: (shape, "float32") for name, shape in shapes.items()})
        return cls(meta["classes"], own, shared, thresholds, meta["temperature"])


def bilinear_rows(arrays: Mapping[str, NDArray[Any]], shared: bool) -> Array:
    """Return W t of every label, (L, d)."""
    turned = (arrays["text"] @ arrays["right"]) @ arrays["left"].T
    return np.asarray(arrays["text"] + turned if shared else turned)
