"""From the name of a class to the direction of its texts in an encoder's space."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadParameter, BadVectors
from classifiers.heads.base import check_vectors
from classifiers.heads.text import require_nonzero
from classifiers.heads.transform import unit_blocks

EmbedTexts = Callable[[Sequence[str]], ArrayLike]
"""Texts (m) → their vectors (m, d) in the space of the images, raw."""

PROMPTS = (
    "a photo of a {}.",
    "a close-up photo of a {}.",
    "a bright photo of a {}.",
    "a cropped photo of a {}.",
    "a good photo of the {}.",
    "a photo of one {}.",
    "{}",
)
"""Seven, as methods for CLIP average. Not tuned: the usual wordings, and the bare name, which the text maps of `lite0`,
`lite1` and `lite2` have learned from."""

TEXTS_A_CALL = 256
"""Bounds the memory of the text network, whatever the number of classes."""


def words(label: str) -> str:
    """A label as one says it: underscores, dashes and slashes are spaces, so is the edge in `carSide`; lower case."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-/]", " ", label)
    return " ".join(apart.split()).lower() or label


def check_prompts(prompts: object) -> tuple[str, ...]:
    """The templates. Raises BadParameter unless they are strings, at least one, each with one {}."""
    found = [] if isinstance(prompts, str) or not isinstance(prompts, Sequence) else list(prompts)
    if not found or not all(isinstance(each, str) and each.count("{}") == 1 for each in found):
        raise BadParameter(
            f"prompts must be a list of templates, each with one {{}} for the class, as in {list(PROMPTS[:2])}; "
            f"got {prompts!r}"
        )
    return tuple(found)


def class_texts(classes: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """Every prompt of the first class, then of the next, …: K × P texts."""
    return [prompt.replace("{}", words(name)) for name in classes for prompt in prompts]


def class_vectors(
    embed: EmbedTexts, classes: Sequence[str], prompts: Sequence[str], edges: Sequence[int]
) -> NDArray[np.float64]:
    """One vector a class, (K, d): the mean of its prompts' unit vectors, at unit norm again; block by block.

    Args:
        embed: asked for at most `TEXTS_A_CALL` texts at a time.
        edges: of the encoders' columns.

    Raises:
        BadVectors: what `embed` gives does not fit, or is zero.
    """
    texts = class_texts(classes, check_prompts(prompts))
    parts = [check_text(embed(some), len(some), edges) for some in chunks(texts)]
    each = np.concatenate(parts).reshape(len(classes), len(prompts), -1)
    return unit_blocks(each.mean(axis=1), edges)


def chunks(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + TEXTS_A_CALL] for start in range(0, len(texts), TEXTS_A_CALL)]


def given_vectors(text: Any, classes: Sequence[str], edges: Sequence[int]) -> NDArray[np.float64]:
    """Text vectors that a caller made, at unit norm block by block: a mapping by class, or rows in their order.

    Raises BadVectors: classes without a vector, another shape, or a vector of zeros.
    """
    if isinstance(text, Mapping):
        by_name = {str(name): vector for name, vector in text.items()}
        missing = [name for name in classes if name not in by_name]
        if missing:
            raise BadVectors(f"no text vector for classes {missing[:10]}; give one for each of the {len(classes)}")
        text = [by_name[name] for name in classes]
    return check_text(text, len(classes), edges)


def check_text(vectors: ArrayLike, count: int, edges: Sequence[int]) -> NDArray[np.float64]:
    """Text vectors (count, d) at unit norm, block by block. Raises BadVectors: another shape, zeros, not finite."""
    rows = check_vectors(vectors, edges[-1])
    if len(rows) != count:
        raise BadVectors(f"expected {count} text vectors, got {len(rows)}")
    for start, stop in pairwise(edges):
        require_nonzero(rows[:, start:stop])
    return unit_blocks(rows.astype(np.float64), edges)
