"""The check that a task has vectors to learn from. Its error names what is missing: vectors, or a suitable encoder."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable, NoVectors
from classifiers.training.rows.rows import Rows
from store.rows import strings

if TYPE_CHECKING:
    from store import Store


def require_present(
    rows: Rows, classes: Sequence[str], present: NDArray[np.integer[Any]], word: str = "classes"
) -> tuple[str, ...]:
    """Return the classes that have training vectors. Raises NoVectors for fewer than two.

    Args:
        present: numbers of the classes that have training vectors.
        word: "classes", or "labels" for rows with any number of labels.
    """
    if len(present) < 2:
        raise no_vectors(rows, classes, len(present), word)
    return tuple(classes[k] for k in present.tolist())


def encoders_of_training_rows(store: "Store", task: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the stored encoders that have vectors of the task's training rows, and the other encoders, both sorted.

    Encoders that share a name are given by the first 12 digits of their fingerprints, as `Store.features` takes them.

    Raises:
        UnknownTask: of the store, with the tasks that exist.
        NotTrainable: training rows that no head can learn from, or no vectors in the store.
        NoVectors: no training row has a vector.
    """
    names = distinct_names(store)
    rows = Rows(store, task, names, store.snapshot())
    classes, ids = rows.classes(), set(strings(rows.labelled("train")["id"]))
    if not names:
        raise NotTrainable("the store holds no vectors yet; embed its assets with an encoder first")
    each = zip(names, rows.features, strict=True)
    used = tuple(name for name, features in each if not ids.isdisjoint(strings(features.ids())))
    if not used:
        raise no_vectors(rows, classes, 0, "classes")
    return used, tuple(name for name in names if name not in used)


def distinct_names(store: "Store") -> tuple[str, ...]:
    """Return the name of each stored encoder, sorted; 12 digits of its fingerprint if another one has its name."""
    tables = store.encoders()
    count = Counter(table.name for table in tables)
    return tuple(sorted(table.name if count[table.name] == 1 else table.fingerprint[:12] for table in tables))


def no_vectors(rows: Rows, classes: Sequence[str], present: int, word: str) -> NoVectors:
    """Return the error for a task in which only `present` classes have training vectors."""
    return NoVectors(
        rows.task,
        rows.encoders,
        present=present,
        classes=len(classes),
        word=word,
        refused=refused(rows),
        takes={features.name: features.spec.modalities for features in rows.features},
    )


def refused(rows: Rows) -> dict[str, tuple[str, ...]]:
    """Return the modalities of training rows that an encoder does not accept, by the encoder's name."""
    found, taken = modalities(rows), {features.name: features.spec.modalities for features in rows.features}
    refused = {name: tuple(each for each in found if each not in own) for name, own in taken.items() if own}
    return {name: each for name, each in refused.items() if each}


def modalities(rows: Rows) -> list[str]:
    """Return the modalities of those assets of the training rows that are in the store."""
    ids, assets = set(strings(rows.labelled("train")["id"])), rows.store.assets
    return [each for each in assets.modalities() if not ids.isdisjoint(strings(assets.ids(each)))]
