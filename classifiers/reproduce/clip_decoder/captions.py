"""Captions of the training rows, to which the decoder can be aligned instead of to the texts of its labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.transform import unit_rows
from classifiers.prompts import chunks, words
from classifiers.training.rows.rows import Rows

LEAK = (
    "A caption that names an unseen label is left out of the alignment: {} of {} in the first draw. The name is found "
    "as a word, also in the plural; a synonym is not found."
)


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions of a task's assets.

    Attributes:
        texts: distinct captions, (C,).
        vectors: their unit vectors, (C, t).
        of_asset: numbers of the captions of each asset, by its id.
    """

    texts: tuple[str, ...]
    vectors: NDArray[np.float32]
    of_asset: dict[str, list[int]]

    @classmethod
    def read(cls, rows: Rows, task: str, ids: Sequence[str]) -> Self:
        """Read and embed the labels of `task`, which are captions, of the assets `ids`. Raises UnknownTask."""
        labels, wanted = rows.store.labels, set(ids)
        table = labels.get(task, version=rows.snapshot.of(labels.table)).select(["id", "labels"])
        found = {row["id"]: row["labels"] or [] for row in table.to_pylist() if row["id"] in wanted}
        place = {text: number for number, text in enumerate(sorted({text for own in found.values() for text in own}))}
        parts = [np.asarray(rows.embed_texts(some), np.float32) for some in chunks(list(place))]
        vectors = unit_rows(np.concatenate(parts)) if parts else np.zeros((0, rows.text_edges()[-1]), np.float32)
        return cls(tuple(place), vectors, {id_: [place[text] for text in own] for id_, own in found.items()})

    def usable(self, unseen: Sequence[str]) -> NDArray[np.bool_]:
        """Return a mask that is true for captions that name no unseen label, (C,)."""
        if not unseen:
            return np.ones(len(self.texts), np.bool_)
        pattern = naming(unseen)
        return np.array([pattern.search(text) is None for text in self.texts], np.bool_)

    def of(self, ids: Sequence[str], unseen: Sequence[str]) -> NDArray[np.float32]:
        """Return the mean vector of each asset's usable captions, (n, t); zeros for an asset without one."""
        usable, found = self.usable(unseen), np.zeros((len(ids), self.vectors.shape[1]), np.float32)
        for row, id_ in enumerate(ids):
            own = [number for number in self.of_asset.get(id_, ()) if usable[number]]
            if own:
                found[row] = self.vectors[own].mean(axis=0)
        return found


def naming(labels: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern that finds the name of one of the labels as a word, in the singular or the plural."""
    names = "|".join(re.escape(words(label)).replace(r"\ ", r"[\s_-]+") for label in labels)
    return re.compile(rf"\b(?:{names})(?:e?s)?\b", re.IGNORECASE)
