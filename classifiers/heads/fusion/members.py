"""The members of a fused head: their blocks of columns, their arrays, and the columns of their classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.base import HEADS, Head
from classifiers.heads.transform import unit_rows


@dataclass(frozen=True, slots=True)
class Blocks:
    """The columns of each member, and how they are scaled.

    Attributes:
        edges: block b is the columns from edges[b] up to edges[b + 1], (B + 1,), starting at 0.
        normalise: True if the rows of every block are set to unit norm, then multiplied by `scale`.
        scale: float32 (B,).
    """

    edges: tuple[int, ...]
    normalise: bool
    scale: NDArray[np.float32]

    def of(self, X: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the blocks of X (n, d), in its dtype."""
        parts = [X[:, low:high] for low, high in pairwise(self.edges)]
        if not self.normalise:
            return parts
        return [unit_rows(part) * scale.astype(X.dtype) for part, scale in zip(parts, self.scale, strict=True)]

    def only(self, members: Sequence[int]) -> Self:
        """Return these blocks alone, side by side."""
        widths = np.diff(self.edges)[list(members)]
        return type(self)((0, *np.cumsum(widths).tolist()), self.normalise, self.scale[list(members)])


def nested_head(arrays: Mapping[str, NDArray[Any]], prefix: str, meta: Mapping[str, Any]) -> Head:
    """Return the head whose array names start with `prefix`. Raises ValueError, KeyError if they make no head."""
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return HEADS[meta["kind"]].from_arrays(
        own, {"classes": meta["classes"], "temperature": meta["temperature"], "settings": meta["settings"]}
    )


def nested_meta(head: Head) -> dict[str, Any]:
    """Return the metadata that `nested_head` needs beside the arrays; JSON-serialisable."""
    return {"kind": head.kind, **head.meta()}


def class_columns(head: Head, classes: Sequence[str]) -> NDArray[np.intp]:
    """Return the column of each class of a member among `classes`. Raises ValueError for a class that is not there."""
    if head.link != "softmax":
        raise ValueError(f"a {head.kind} head scores each label by itself (sigmoid); fusion needs softmax heads")
    where = {name: column for column, name in enumerate(classes)}
    unknown = [name for name in head.classes if name not in where]
    if unknown:
        raise ValueError(f"the arrays of a member score classes {unknown[:5]}, which are not among the head's")
    return np.array([where[name] for name in head.classes], np.intp)


def spread(scores: NDArray[Any], columns: NDArray[np.intp], n_classes: int) -> NDArray[Any]:
    """Return scores (n, k) in their columns of (n, n_classes), -inf elsewhere."""
    if len(columns) == n_classes and (np.diff(columns) == 1).all():
        return scores
    wide = np.full((len(scores), n_classes), -np.inf, scores.dtype)
    wide[:, columns] = scores
    return wide
