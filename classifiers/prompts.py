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
from classifiers.prompt_sets import AS_WRITTEN, SETS

EmbedTexts = Callable[[Sequence[str]], ArrayLike]
"""A function from texts (m,) to their vectors (m, d), which are raw (not normalised) and in the space of the images."""

PROMPTS = SETS["common"]
"""Templates whose text vectors are averaged, unless others are chosen: common wordings, and the bare name."""

BARE = "lite"
"""Start of the names of the encoders for which the bare name of a class is best, because texts with names of classes
made their text maps. On training rows of clothing10 and caltech99 it had a mean accuracy of 0.403, against 0.397 of
`PROMPTS` and 0.396 of `imagenet80` (`benchmarks/prompts.py`). CLIP's own networks gain by templates (arXiv 2103.00020,
section 3.1.4: 3.5 points on ImageNet by those of `imagenet80`)."""

WRITTEN = "{label}"
"""Place in a template for the name of the class as it is written. In place of {} stand its `words`."""

TEXTS_A_CALL = 256
"""Maximum number of texts embedded at a time. It bounds the memory of the text network."""


def words(label: str) -> str:
    """Return a label as spoken words in lower case: `_`, `-`, `/` and a change of case (`carSide`) become spaces."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-/]", " ", label)
    return " ".join(apart.split()).lower() or label


def check_prompts(prompts: object) -> tuple[str, ...]:
    """Return the templates, those of a set of `classifiers.prompt_sets` if its name is given.

    Raises BadParameter unless there is at least one, and each is a string with one place for the class: {} or {label}.
    """
    if isinstance(prompts, str):
        return named_set(prompts)
    found = list(prompts) if isinstance(prompts, Sequence) else []
    if not found or not all(isinstance(each, str) and each.count("{}") + each.count(WRITTEN) == 1 for each in found):
        raise BadParameter(
            f"prompts must be the name of a set, or a list of templates, each with one {{}} or {WRITTEN} for the "
            f"class, as in {list(PROMPTS[:2])}; got {prompts!r}. Sets: {', '.join(SETS)}"
        )
    return tuple(found)


def default_prompts(encoders: Sequence[str]) -> tuple[str, ...]:
    """Return the templates for encoders of these names, if none are chosen."""
    return SETS["name"] if encoders and all(name.startswith(BARE) for name in encoders) else PROMPTS


def named_set(name: str) -> tuple[str, ...]:
    """Return the templates of a set, by its name. With the ending `AS_WRITTEN`, names are not turned into words."""
    plain = name.removesuffix(AS_WRITTEN)
    if plain not in SETS:
        raise BadParameter(
            f"there is no set of prompts {name!r}; the sets are {', '.join(SETS)}, and each of them with {AS_WRITTEN} "
            "behind its name. Templates of your own are a list"
        )
    return SETS[plain] if plain == name else tuple(template.replace("{}", WRITTEN) for template in SETS[plain])


def class_texts(classes: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """Return K × P texts: every prompt of the first class, then every prompt of the next."""
    return [filled(prompt, name) for name in classes for prompt in prompts]


def filled(prompt: str, name: str) -> str:
    """Return a template with the name of a class: in words in place of {}, as it is written in place of {label}."""
    return prompt.replace(WRITTEN, name) if WRITTEN in prompt else prompt.replace("{}", words(name))


def class_vectors(
    embed: EmbedTexts, classes: Sequence[str], prompts: Sequence[str] | str, edges: Sequence[int]
) -> NDArray[np.float64]:
    """Return one vector per class, (K, d): the mean of its prompts' unit vectors, at unit norm, block by block.

    Args:
        embed: called with at most `TEXTS_A_CALL` texts at a time.
        edges: column edges (0, …, d) of the encoders' blocks.

    Raises:
        BadVectors: `embed` returns another shape, values that are not finite, or a vector of zeros.
    """
    prompts = check_prompts(prompts)
    texts = class_texts(classes, prompts)
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
