"""Class vectors from class names: each name is put into prompts, and the prompts' text vectors are averaged."""

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
"""A function from texts (m,) to their vectors (m, d), which are raw (not normalised) and in the space of the images."""

PROMPTS = (
    "a photo of a {}.",
    "a close-up photo of a {}.",
    "a bright photo of a {}.",
    "a cropped photo of a {}.",
    "a good photo of the {}.",
    "a photo of one {}.",
    "{}",
)
"""Templates whose text vectors are averaged, as is usual for CLIP: common wordings, and the bare name, which the text
maps of `lite0`, `lite1` and `lite2` were trained on. The list is not tuned."""

TEXTS_A_CALL = 256
"""Maximum number of texts embedded at a time. It bounds the memory of the text network."""


def words(label: str) -> str:
    """Return a label as spoken words in lower case: `_`, `-`, `/` and a change of case (`carSide`) become spaces."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-/]", " ", label)
    return " ".join(apart.split()).lower() or label


def check_prompts(prompts: object) -> tuple[str, ...]:
    """Return the templates. Raises BadParameter unless there is at least one, and each is a string with one {}."""
    found = [] if isinstance(prompts, str) or not isinstance(prompts, Sequence) else list(prompts)
    if not found or not all(isinstance(each, str) and each.count("{}") == 1 for each in found):
        raise BadParameter(
            f"prompts must be a list of templates, each with one {{}} for the class, as in {list(PROMPTS[:2])}; "
            f"got {prompts!r}"
        )
    return tuple(found)


def class_texts(classes: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """Return K × P texts: every prompt of the first class, then every prompt of the next."""
    return [prompt.replace("{}", words(name)) for name in classes for prompt in prompts]


def class_vectors(
    embed: EmbedTexts, classes: Sequence[str], prompts: Sequence[str], edges: Sequence[int]
) -> NDArray[np.float64]:
    """Return one vector per class, (K, d): the mean of its prompts' unit vectors, at unit norm, block by block.

    Args:
        embed: called with at most `TEXTS_A_CALL` texts at a time.
        edges: column edges (0, …, d) of the encoders' blocks.

    Raises:
        BadVectors: `embed` returns another shape, values that are not finite, or a vector of zeros.
    """
    texts = class_texts(classes, check_prompts(prompts))
    parts = [check_text(embed(some), len(some), edges) for some in chunks(texts)]
    each = np.concatenate(parts).reshape(len(classes), len(prompts), -1)
    return unit_blocks(each.mean(axis=1), edges)


def chunks(texts: Sequence[str]) -> list[Sequence[str]]:
    """Return the texts in lists of at most `TEXTS_A_CALL`."""
    return [texts[start : start + TEXTS_A_CALL] for start in range(0, len(texts), TEXTS_A_CALL)]


def given_vectors(text: Any, classes: Sequence[str], edges: Sequence[int]) -> NDArray[np.float64]:
    """Return the caller's own text vectors (K, d), at unit norm block by block.

    Args:
        text: a mapping from class to vector, or vectors in the order of the classes.
        edges: column edges (0, …, d) of the encoders' blocks.

    Raises BadVectors: a class without a vector, another shape, or a vector of zeros.
    """
    if isinstance(text, Mapping):
        by_name = {str(name): vector for name, vector in text.items()}
        missing = [name for name in classes if name not in by_name]
        if missing:
            raise BadVectors(f"no text vector for classes {missing[:10]}; give one for each of the {len(classes)}")
        text = [by_name[name] for name in classes]
    return check_text(text, len(classes), edges)


def check_text(vectors: ArrayLike, count: int, edges: Sequence[int]) -> NDArray[np.float64]:
    """Return text vectors (count, d) at unit norm, block by block.

    Raises BadVectors: another shape, values that are not finite, or a vector of zeros.
    """
    rows = check_vectors(vectors, edges[-1])
    if len(rows) != count:
        raise BadVectors(f"expected {count} text vectors, got {len(rows)}")
    for start, stop in pairwise(edges):
        require_nonzero(rows[:, start:stop])
    return unit_blocks(rows.astype(np.float64), edges)
