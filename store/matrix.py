"""The arrays for training: vectors, labels and splits, joined by asset id."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from store.errors import NotOneLabel
from store.rows import Column
from store.schema import check_split
from store.snapshot import Snapshot


@dataclass(frozen=True)
class Matrix:
    """Labelled vectors of a task. Rows are sorted by id, so a snapshot gives the same rows on every machine.

    Attributes:
        ids: asset ids (n).
        X: float32 (n, d), the vectors of all encoders side by side.
        labels: labels of each row, list<string> (n).
        classes: labels of the task, sorted; see `Labels.classes`.
        splits: split of each row, str (n,).
        blocks: {encoder, as named by the caller: its columns of X}.
        fingerprints: {encoder, as named by the caller: its fingerprint}.
        snapshot: the versions that were read.
        dropped: number of labelled rows left out because they lack a vector of some encoder.
    """

    task: str
    ids: list[str]
    X: NDArray[np.float32]
    labels: Column
    classes: tuple[str, ...]
    splits: NDArray[np.str_]
    blocks: dict[str, slice]
    fingerprints: dict[str, str]
    snapshot: Snapshot
    dropped: int

    @cached_property
    def y(self) -> list[list[str]]:
        """The labels of each row as lists."""
        rows: list[list[str]] = self.labels.to_pylist()
        return rows

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Index of each row's label in `classes`, shape (n,); -1 for a label that is not a class.

        Raises BadLabels unless every row has exactly one label.
        """
        return codes_of(self.ids, self.labels, self.classes, self.task)

    @cached_property
    def indicator(self) -> NDArray[np.bool_]:
        """True where a row has a label, shape (n, len(classes))."""
        return indicator_of(self.labels, self.classes)

    def select(self, *splits: str) -> "Matrix":
        """Return the rows of these splits. Raises BadSplit."""
        keep = np.flatnonzero(np.isin(self.splits, [check_split(split) for split in splits]))
        return replace(
            self,
            ids=[self.ids[i] for i in keep],
            X=self.X[keep],
            labels=self.labels.take(pa.array(keep)),
            splits=self.splits[keep],
        )


def indicator_of(labels: Column, classes: Sequence[str]) -> NDArray[np.bool_]:
    """Return True where a row has a class, shape (n, len(classes)). Labels that are not classes are ignored.

    Args:
        labels: labels of each row, list<string> (n).
    """
    codes: Column = pc.index_in(labels.flatten(), value_set=pa.array(classes, pa.string()))
    rows = np.repeat(np.arange(len(labels)), pc.list_value_length(labels).to_numpy())
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    table = np.zeros((len(labels), len(classes)), np.bool_)
    table[rows[known], codes.drop_null().to_numpy()] = True
    return table


def codes_of(ids: Sequence[str] | Column, labels: Column, classes: Sequence[str], task: str) -> NDArray[np.int64]:
    """Return the index of each row's label in `classes`, shape (n,); -1 for a label that is not a class.

    Args:
        ids: asset id of each row (n), for the message.
        labels: labels of each row, list<string> (n).
        task: the task's name, for the message.

    Raises NotOneLabel unless every row has exactly one label.
    """
    several: Column = pc.not_equal(pc.list_value_length(labels), pa.scalar(1, pa.int32()))
    if pc.any(several).as_py():
        rows = np.flatnonzero(several.to_numpy(zero_copy_only=False))
        raise NotOneLabel(task, str(ids[rows[0]]), labels[rows[0]].as_py(), len(rows))
    found: Column = pc.index_in(labels.flatten(), value_set=pa.array(classes, pa.string()))
    codes: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return codes
