"""The names and descriptions of ImageNet's 1,000 classes as texts, from timm's copy of WordNet."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

REVISION = 1
"""Part of the cache key of text vectors. Raise it when the texts change."""

SCALE = 100.0
"""Factor of the cosines of an encoder without a classifier: the logit scale of OpenAI's CLIP (arXiv 2103.00020)."""

TEXTS_A_CALL = 256


def class_texts() -> list[list[tuple[str, float]]]:
    """Return the texts of each class with their weights, which add up to 1: names in a prompt, alone, and the gloss."""
    from timm.data import ImageNetInfo  # timm is slow to import

    info = ImageNetInfo()
    return [
        described(info.index_to_description(index), info.index_to_description(index, detailed=True))
        for index in range(1000)
    ]


def described(names: str, detailed: str) -> list[tuple[str, float]]:
    """Return the texts of a class, given its names and a description ``name: gloss``, each with its weight."""
    name, *synonyms = names.split(", ")
    gloss = detailed.split(": ", 1)[1]
    texts = {name: 2.0, f"a photo of a {name}.": 2.0, f"{name}: {gloss}": 2.0, gloss: 1.0}
    texts |= {synonym: 1.0 for synonym in synonyms if synonym not in texts}
    total = sum(texts.values())
    return [(text, weight / total) for text, weight in texts.items()]


def vectors(embed: Callable[[Sequence[str]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return a text vector of norm 1 for each class, (1000, d): the weighted mean of the unit vectors of its texts."""
    rows = [(number, text, weight) for number, some in enumerate(class_texts()) for text, weight in some]
    numbers, texts, weights = zip(*rows, strict=True)
    parts = [embed(texts[start : start + TEXTS_A_CALL]) for start in range(0, len(texts), TEXTS_A_CALL)]
    found = np.concatenate(parts).astype(np.float64)
    found *= np.array(weights)[:, None] / np.linalg.norm(found, axis=1, keepdims=True)
    means = np.zeros((numbers[-1] + 1, found.shape[1]))
    np.add.at(means, np.array(numbers), found)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)
