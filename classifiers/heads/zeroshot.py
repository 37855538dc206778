"""Zero-shot heads: classes known by their text vectors, optionally blended with a Gaussian head."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.heads.base import Head, Meta, check_vectors, require_shapes
from classifiers.heads.synthesis import Synthesis, shapes_of
from classifiers.heads.text import check_text
from classifiers.heads.transform import check_edges, unit_blocks

Blend = float | Literal["gaussian", "lp++"]
"""α of `folded`, or one of `ALONE`."""

ALONE: tuple[Blend, ...] = ("gaussian", "lp++")
"""Blends whose scores are those of the linear part alone, which is α → ∞. The linear part of LP++ contains the texts,
each with a factor of its own."""


def folded(
    text: NDArray[Any],
    centre: NDArray[Any],
    scale: float,
    blend: Blend,
    W: NDArray[Any] | None,
    b: NDArray[Any] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (M, c) of the scores u Mᵀ + c = scale · (u - m) Tᵀ + α (u Wᵀ + b), with u = x at unit norm per block.

    GDA for CLIP (arXiv 2402.04087) is scale = 100 and m = 0. All parts are linear in u, so folding is exact.

    Args:
        text: T (K, d).
        centre: m (d,).
        W, b: the linear part, (K, d) and (K,), for example that of a Gaussian head; None without one.
    """
    M = text.astype(np.float64) * scale
    c = -M @ centre
    if W is None or b is None:
        return M, c
    if isinstance(blend, str):
        return W.astype(np.float64), b.astype(np.float64)
    return M + blend * W.astype(np.float64), c + blend * b.astype(np.float64)


class ZeroShotHead(Head):
    """Cosines with one text vector per class, and optionally linear scores learned from labelled rows, see `folded`.

    Arrays in float32: text (K, d), where each block has norm 1 / (number of blocks), so that scores are mean cosines;
    centre (d,); with a linear part W (K, d), b (K,). The artifact keeps both parts; scoring is one product of the
    folded parts. With a label bank, `text` includes what the bank adds; a head of texts alone keeps the arrays of
    `Synthesis` too, so that other classes can be asked for.
    """

    kind = "zeroshot"

    def __init__(
        self,
        classes: Sequence[str],
        arrays: Mapping[str, NDArray[np.float32]],
        settings: Mapping[str, Any],
        temperature: float = 1.0,
    ) -> None:
        """Make a head. `settings` hold scale, blend, blocks (column edges of the encoders) and more values to keep.

        With a label bank, `Synthesis.settings` are among them.
        """
        super().__init__(classes, temperature)
        self._arrays, self._settings = dict(arrays), dict(settings)
        self.text, self.centre = self._arrays["text"], self._arrays["centre"]
        self.edges = check_edges(settings["blocks"], self.text.shape[1])
        self.synthesis = Synthesis.from_arrays(self._arrays, float(settings.get("bank_weight", 0.0)))
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
        """True if the head was made from texts alone: a linear part knows only the classes that it was trained on."""
        return bool(self._settings["blend"] == 0)

    def with_labels(self, classes: Sequence[str], text: ArrayLike) -> Self:
        """Return the head for other classes, in the order given, without training. The temperature stays.

        Args:
            classes: unique names (m,), m ≥ 2.
            text: vectors of their texts (m, d), any norm in each block, from the text encoders of the head's own texts.

        Raises:
            BadVectors: another width or number of vectors, or a vector that is zero in a block.
            ValueError: names that repeat, fewer than two names, or a head with a linear part.
        """
        names = list(classes)
        if not self.knows_texts or len(names) < 2 or len(set(names)) != len(names):
            raise ValueError(
                "other classes need a head made from texts alone (blend 0) and at least two unique names; got "
                f"{names[:20]} for blend {self._settings['blend']}"
            )
        rows = check_vectors(text, self.dim)
        blocks = [check_text(rows[:, low:high], len(names)) for low, high in pairwise(self.edges)]
        vectors = np.concatenate(blocks, axis=1) / np.float32(len(blocks))
        directions = vectors if self.synthesis is None else self.synthesis.directions(vectors)
        arrays = {**self._arrays, "text": directions}
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
        else:
            shapes |= shapes_of(arrays, settings, width)
        require_shapes(arrays, shapes)
        return cls(meta["classes"], arrays, settings, meta["temperature"])
