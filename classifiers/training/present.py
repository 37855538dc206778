"""The check that a task has vectors to learn from. Its error names what is missing: vectors, or a suitable encoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NoVectors
from classifiers.training.rows import Rows
from store.rows import strings


def require_present(
    rows: Rows, classes: Sequence[str], present: NDArray[np.integer[Any]], word: str = "classes"
) -> tuple[str, ...]:
    """Return the classes that have training vectors. Raises NoVectors for fewer than two.

    Args:
        present: numbers of the classes that have training vectors.
        word: "classes", or "labels" for rows with any number of labels.
    """
    if len(present) < 2:
        raise NoVectors(
            rows.task, rows.encoders, present=len(present), classes=len(classes), word=word, refused=refused(rows)
        )
    return tuple(classes[k] for k in present.tolist())


def refused(rows: Rows) -> dict[str, tuple[str, ...]]:
    """Return the modalities of training rows that an encoder does not accept, by the encoder's name."""
    found, taken = modalities(rows), {features.name: features.spec.modalities for features in rows.features}
    refused = {name: tuple(each for each in found if each not in own) for name, own in taken.items() if own}
    return {name: each for name, each in refused.items() if each}


def modalities(rows: Rows) -> list[str]:
    """Return the modalities of those assets of the training rows that are in the store."""
    ids, assets = set(strings(rows.labelled("train")["id"])), rows.store.assets
    return [each for each in assets.modalities() if not ids.isdisjoint(strings(assets.ids(each)))]
