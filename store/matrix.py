"""What training gets: vectors, labels and splits as arrays, joined by asset id."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from store.errors import BadLabels
from store.rows import Column
from store.schema import check_split
from store.snapshot import Snapshot


@dataclass(frozen=True)
class Matrix:
    """All that training gets. Rows are in order of id, so the same snapshot gives the same rows anywhere.

    Attributes:
        ids: asset ids (n).
        X: float32 (n, d), the encoders' vectors side by side.
        labels: the labels of each row, list<string> (n).
        classes: sorted labels of the task, see `Labels.classes`.
        splits: split of each row (n), str.
        blocks: {encoder name as asked: its columns of X}.
        fingerprints: {encoder name as asked: its fingerprint}.
        snapshot: the versions that were read.
        dropped: labelled rows of the splits asked that lack a vector of some encoder; they are not in X.
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
        rows: list[list[str]] = self.labels.to_pylist()
        return rows

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """(n,) index into `classes`, -1 for a label that is no class. Raises BadLabels unless one label a row."""
        return codes_of(self.labels, self.classes, self.task)

    @cached_property
    def indicator(self) -> NDArray[np.bool_]:
        """(n, classes): which labels each row has."""
        return indicator_of(self.labels, self.classes)

    def select(self, *splits: str) -> "Matrix":
        """The rows of these splits."""
        keep = np.flatnonzero(np.isin(self.splits, [check_split(split) for split in splits]))
        return replace(
            self,
            ids=[self.ids[i] for i in keep],
            X=self.X[keep],
            labels=self.labels.take(pa.array(keep)),
            splits=self.splits[keep],
        )


def indicator_of(labels: Column, classes: Sequence[str]) -> NDArray[np.bool_]:
    """list<string> (n) → which of the classes each row has, (n, classes); other labels are not looked at."""
    codes: Column = pc.index_in(labels.flatten(), value_set=pa.array(classes, pa.string()))
    rows = np.repeat(np.arange(len(labels)), pc.list_value_length(labels).to_numpy())
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    table = np.zeros((len(labels), len(classes)), np.bool_)
    table[rows[known], codes.drop_null().to_numpy()] = True
    return table


def codes_of(labels: Column, classes: Sequence[str], task: str) -> NDArray[np.int64]:
    """list<string> (n) → (n,) index into `classes`, -1 for another label. Raises BadLabels unless one a row."""
    several: Column = pc.not_equal(pc.list_value_length(labels), pa.scalar(1, pa.int32()))
    if pc.any(several).as_py():
        row = labels.filter(several)[0].as_py()
        raise BadLabels(f"task {task!r} has rows with {len(row)} labels ({row!r}); classes need exactly one a row")
    found: Column = pc.index_in(labels.flatten(), value_set=pa.array(classes, pa.string()))
    codes: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return codes
