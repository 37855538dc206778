"""The members of a fused head: which columns they take, how they are kept, and where their classes stand."""

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
    """Which columns belong to which member, and what is done to them first.

    Attributes:
        edges: block b is columns edges[b] to edges[b + 1], (B + 1,), starting at 0.
        normalise: rows of every block at unit norm.
        scale: then multiplied by these, float32 (B,).
    """

    edges: tuple[int, ...]
    normalise: bool
    scale: NDArray[np.float32]

    def of(self, X: NDArray[Any]) -> list[NDArray[Any]]:
        """The blocks of X (n, d), in its dtype."""
        parts = [X[:, low:high] for low, high in pairwise(self.edges)]
        if not self.normalise:
            return parts
        return [unit_rows(part) * scale.astype(X.dtype) for part, scale in zip(parts, self.scale, strict=True)]

    def only(self, members: Sequence[int]) -> Self:
        """These blocks alone, side by side."""
        widths = np.diff(self.edges)[list(members)]
        return type(self)((0, *np.cumsum(widths).tolist()), self.normalise, self.scale[list(members)])


def nested_head(arrays: Mapping[str, NDArray[Any]], prefix: str, meta: Mapping[str, Any]) -> Head:
    """The head whose arrays carry `prefix`. Raises ValueError, KeyError when they do not make one."""
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return HEADS[meta["kind"]].from_arrays(
        own, {"classes": meta["classes"], "temperature": meta["temperature"], "settings": meta["settings"]}
    )


def nested_meta(head: Head) -> dict[str, Any]:
    """What `nested_head` needs beside the arrays; JSON-able."""
    return {"kind": head.kind, **head.meta()}


def class_columns(head: Head, classes: Sequence[str]) -> NDArray[np.intp]:
    """Where each class of a member stands among `classes`. Raises ValueError for one that is not there."""
    if head.link != "softmax":
        raise ValueError(f"a {head.kind} head scores every label by itself (sigmoid); fusion takes softmax heads")
    where = {name: column for column, name in enumerate(classes)}
    strange = [name for name in head.classes if name not in where]
    if strange:
        raise ValueError(f"the arrays of a member score classes {strange[:5]}, which are not among the head's")
    return np.array([where[name] for name in head.classes], np.intp)


def spread(scores: NDArray[Any], columns: NDArray[np.intp], n_classes: int) -> NDArray[Any]:
    """Scores (n, k) in their columns of (n, n_classes), -inf elsewhere."""
    if len(columns) == n_classes and (np.diff(columns) == 1).all():
        return scores
    wide = np.full((len(scores), n_classes), -np.inf, scores.dtype)
    wide[:, columns] = scores
    return wide
