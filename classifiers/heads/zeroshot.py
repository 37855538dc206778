"""Classes that are known by their texts, with or without a Gaussian head of labelled rows beside them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.heads.base import Head, Meta, check_vectors, require_shapes
from classifiers.heads.text import check_text
from classifiers.heads.transform import check_edges, unit_blocks

Blend = float | Literal["gaussian"]
"""α of `folded`; "gaussian": the Gaussian part alone, which is α → ∞."""


def folded(
    text: NDArray[Any],
    centre: NDArray[Any],
    scale: float,
    blend: Blend,
    W: NDArray[Any] | None,
    b: NDArray[Any] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(M, c) of the scores u Mᵀ + c = scale · (u - m) Tᵀ + α (u Wᵀ + b), u: x at unit norm in every block.

    GDA for CLIP, arXiv 2402.04087, has scale 100 and m = 0. All parts are linear in u, so this is exact.

    Args:
        text: T (K, d).
        centre: m (d,).
        W, b: (K, d), (K,) of the Gaussian part; None without one.
    """
    M = text.astype(np.float64) * scale
    c = -M @ centre
    if W is None or b is None:
        return M, c
    if blend == "gaussian":
        return W.astype(np.float64), b.astype(np.float64)
    return M + blend * W.astype(np.float64), c + blend * b.astype(np.float64)


class ZeroShotHead(Head):
    """Cosines with one text vector a class, and perhaps linear scores learned from labelled rows, see `folded`.

    Arrays in float32: text (K, d), of norm 1 over the number of blocks in each, so that scores are mean cosines; centre
    (d,); with a Gaussian part W (K, d), b (K,). Both parts are kept, so that the artifact tells what was learned from
    what; scoring is one product.
    """

    kind = "zeroshot"

    def __init__(
        self,
        classes: Sequence[str],
        arrays: Mapping[str, NDArray[np.float32]],
        settings: Mapping[str, Any],
        temperature: float = 1.0,
    ) -> None:
        """`settings` hold scale, blend and blocks (column edges of the encoders), and whatever else is to be kept."""
        super().__init__(classes, temperature)
        self._arrays, self._settings = dict(arrays), dict(settings)
        self.text, self.centre = self._arrays["text"], self._arrays["centre"]
        self.edges = check_edges(settings["blocks"], self.text.shape[1])
        W, b = self._arrays.get("W"), self._arrays.get("b")
        M, c = folded(self.text, self.centre, settings["scale"], settings["blend"], W, b)
        self._M, self._c = M.astype(np.float32), c.astype(np.float32)

    @property
    def dim(self) -> int:
        return self.edges[-1]

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(unit_blocks(X, self.edges) @ self._M.T + self._c)

    @property
    def knows_texts(self) -> bool:
        """True if the head was made from texts alone: a Gaussian part knows only the classes that it was trained on."""
        return bool(self._settings["blend"] == 0)

    def with_labels(self, classes: Sequence[str], text: ArrayLike) -> Self:
        """The same head for other classes, in the order given: nothing is retrained, and the temperature stays.

        Args:
            classes: names (m,), m ≥ 2, each once.
            text: their vectors (m, d), of any norm in each block, from the text sides that gave the head's own.

        Raises:
            BadVectors: another width or number of vectors, or one that is zero in a block.
            ValueError: names that repeat, fewer than two, or a head with a part that was learned from rows.
        """
        names = list(classes)
        if not self.knows_texts or len(names) < 2 or len(set(names)) != len(names):
            raise ValueError(
                f"other classes are for a head from texts alone, at least two of them, each once; got {names[:20]} for "
                f"blend {self._settings['blend']}"
            )
        rows = check_vectors(text, self.dim)
        blocks = [check_text(rows[:, low:high], len(names)) for low, high in pairwise(self.edges)]
        arrays = {**self._arrays, "text": np.concatenate(blocks, axis=1) / np.float32(len(blocks))}
        return type(self)(names, arrays, self._settings, self.temperature)

    def settings(self) -> dict[str, Any]:
        return dict(self._settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return dict(self._arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        n_classes, settings = len(meta["classes"]), meta["settings"]
        width = int(settings["blocks"][-1])
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            "text": ((n_classes, width), "float32"),
            "centre": ((width,), "float32"),
        }
        if settings["blend"] != 0:
            shapes |= {"W": ((n_classes, width), "float32"), "b": ((n_classes,), "float32")}
        require_shapes(arrays, shapes)
        return cls(meta["classes"], arrays, settings, meta["temperature"])
