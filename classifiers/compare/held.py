"""A task's rows read once and held in memory, so that many heads can be learned from them."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.training.rows.rows import RowBatch, Rows
from store.selection import BATCH_ROWS

if TYPE_CHECKING:
    from store import Matrix


@dataclass(frozen=True)
class HeldRows(Rows):
    """Rows of some splits in memory, from which each set of encoders gets its columns.

    Only rows that have a vector of every encoder are kept, so all sets of encoders have the same rows.

    Attributes:
        held: the rows with the columns of all encoders, by split.
    """

    held: "Mapping[str, Matrix]" = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, rows: Rows, classes: Sequence[str], splits: Sequence[str]) -> Self:
        """Read splits from the store, which takes n × d × 4 bytes, see `bytes_of`."""
        held = {split: rows.matrix(split, classes) for split in splits}
        return cls(rows.store, rows.task, rows.encoders, rows.snapshot, table=rows.labels, texts=rows.texts, held=held)

    def of(self, encoders: Sequence[str]) -> Self:
        """Return the same rows with only the columns of these encoders, in this order."""
        return replace(self, encoders=tuple(encoders))

    def only(self, part: AbstractSet[str]) -> Self:
        """Return the same rows without the training rows whose ids are not in `part`."""
        train = self.held["train"]
        keep = np.array([id_ in part for id_ in train.ids], np.bool_)
        kept = replace(
            train,
            ids=[id_ for id_, kept in zip(train.ids, keep, strict=True) if kept],
            X=train.X[keep],
            labels=train.labels.filter(keep),
            splits=train.splits[keep],
        )
        return replace(self, held={**self.held, "train": kept})

    def matrix(self, split: str, classes: Sequence[str]) -> "Matrix":
        source = split if self.fold is None else "train"
        whole = self.held[source]
        X = columns(whole.X, [whole.blocks[encoder] for encoder in self.encoders])
        if self.fold is None or split not in ("train", "val"):
            return replace(whole, X=X, classes=tuple(classes))
        keep = np.flatnonzero(self.held_out(whole.ids) == (split == "val"))
        ids, labels = [whole.ids[i] for i in keep], whole.labels.take(keep)
        return replace(whole, ids=ids, X=X[keep], labels=labels, splits=whole.splits[keep], classes=tuple(classes))

    def training(self, classes: Sequence[str]) -> Iterator[RowBatch]:
        return self.batches("train", classes)

    def batches(self, split: str, classes: Sequence[str]) -> Iterator[RowBatch]:
        matrix = self.matrix(split, classes)
        for start in range(0, len(matrix.ids), BATCH_ROWS):
            piece = slice(start, start + BATCH_ROWS)
            yield matrix.ids[piece], matrix.X[piece], matrix.codes[piece]


def columns(X: NDArray[Any], blocks: Sequence[slice]) -> NDArray[Any]:
    """Return blocks of columns of X (n, d) side by side; a view if the blocks are neighbours."""
    if all(left.stop == right.start for left, right in pairwise(blocks)):
        return X[:, blocks[0].start : blocks[-1].stop]
    return np.concatenate([X[:, block] for block in blocks], axis=1)


def bytes_of(rows: Rows, splits: Sequence[str]) -> int:
    """Return the maximum number of bytes of memory that `HeldRows.read` needs."""
    return sum(rows.labelled(split).num_rows for split in splits) * rows.dim * 4
