"""From tables to arrays: labels joined with vectors by asset id, whole (`Matrix`) or streamed (`Batches`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from store.errors import BadLabels
from store.features import Features
from store.labels import Labels, classes_of
from store.rows import Column, strings
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
        codes: Column = pc.index_in(self.labels.flatten(), value_set=pa.array(self.classes, pa.string()))
        rows = np.repeat(np.arange(len(self.ids)), pc.list_value_length(self.labels).to_numpy())
        known = codes.is_valid().to_numpy(zero_copy_only=False)
        table = np.zeros((len(self.ids), len(self.classes)), np.bool_)
        table[rows[known], codes.drop_null().to_numpy()] = True
        return table

    def select(self, *splits: str) -> "Matrix":
        """The rows of these splits."""
        keep = np.flatnonzero(np.isin(self.splits, [check_split(split) for split in splits]))
        return Matrix(
            task=self.task, ids=[self.ids[i] for i in keep], X=self.X[keep], labels=self.labels.take(pa.array(keep)),
            classes=self.classes, splits=self.splits[keep], blocks=self.blocks, fingerprints=self.fingerprints,
            snapshot=self.snapshot, dropped=self.dropped,
        )  # fmt: skip


def codes_of(labels: Column, classes: Sequence[str], task: str) -> NDArray[np.int64]:
    """list<string> (n) → (n,) index into `classes`, -1 for another label. Raises BadLabels unless one a row."""
    several: Column = pc.not_equal(pc.list_value_length(labels), pa.scalar(1, pa.int32()))
    if pc.any(several).as_py():
        row = labels.filter(several)[0].as_py()
        raise BadLabels(f"task {task!r} has rows with {len(row)} labels ({row!r}); classes need exactly one a row")
    found: Column = pc.index_in(labels.flatten(), value_set=pa.array(classes, pa.string()))
    codes: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return codes


class Batches:
    """Labelled vectors streamed in one pass with bounded memory; may be iterated again.

    Yields (ids list[str], X float32 (m, d), codes int64 (m,)) in the order of the first encoder's table, not of
    ids; m is at most `batch_rows`, and X may be a read-only view. A code is an index into `classes`, -1 for a
    label that is no class. Every row of the splits is held by id, no vector is.

    Attributes:
        dropped: after a whole pass, the labelled rows that lack a vector of some encoder. None before.
    """

    def __init__(self, selection: "Selection", classes: Sequence[str], batch_rows: int) -> None:
        self.selection, self.classes, self.batch_rows = selection, tuple(classes), batch_rows
        self.blocks = selection.blocks
        self.dropped: int | None = None

    def __iter__(self) -> Iterator[tuple[list[str], NDArray[np.float32], NDArray[np.int64]]]:
        chosen = self.selection
        codes = codes_of(chosen.labels, self.classes, chosen.task)
        seen = 0
        for ids, rows, X in chosen.stream(self.batch_rows):
            seen += len(ids)
            yield ids, X, codes[rows]
        self.dropped = len(chosen.ids) - seen


@dataclass
class Selection:
    """The labelled rows of a task in some splits, in order of id, and the encoders whose vectors are asked."""

    task: str
    features: dict[str, Features]
    snapshot: Snapshot
    rows: pa.Table
    classes: tuple[str, ...]
    ids: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = strings(self.rows["id"])

    @property
    def labels(self) -> Column:
        return self.rows["labels"].combine_chunks()

    @property
    def blocks(self) -> dict[str, slice]:
        ends = np.cumsum([0, *(features.shape[0] for features in self.features.values())]).tolist()
        return {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(self.features)}

    def matrix(self) -> Matrix:
        width = sum(features.shape[0] for features in self.features.values())
        X = np.empty((len(self.ids), width), np.float32)
        have = np.zeros(len(self.ids), np.bool_)
        for _, rows, part in self.stream(16384):
            X[rows] = part
            have[rows] = True
        dropped = int(np.count_nonzero(~have))
        if dropped:
            X = X[have]
        kept = self.rows.filter(pa.array(have))
        return Matrix(
            task=self.task,
            ids=strings(kept["id"]),
            X=X,
            labels=kept["labels"].combine_chunks(),
            classes=self.classes,
            splits=np.array(kept["split"].to_pylist(), np.str_),
            blocks=self.blocks,
            fingerprints={name: features.fingerprint for name, features in self.features.items()},
            snapshot=self.snapshot,
            dropped=dropped,
        )

    def stream(self, batch_rows: int) -> Iterator[tuple[list[str], NDArray[np.int64], NDArray[np.float32]]]:
        """(ids, their rows in `self.rows`, X) of the rows that have a vector of every encoder."""
        position = {id_: row for row, id_ in enumerate(self.ids)}
        first = next(iter(self.features.values()))
        # A scan reads the whole table: worth it unless most of it is not asked for.
        if len(self.features) == 1 and 8 * len(self.ids) >= first.table.count(version=self.snapshot.of(first.table)):
            yield from self._scan(first, position, batch_rows)
        else:
            yield from self._fetch(position, batch_rows)

    def _scan(
        self, features: Features, position: dict[str, int], batch_rows: int
    ) -> Iterator[tuple[list[str], NDArray[np.int64], NDArray[np.float32]]]:
        for array, X in features.scan(batch_rows, version=self.snapshot.of(features.table)):
            ids = array.to_pylist()
            rows = np.fromiter((position.get(id_, -1) for id_ in ids), np.int64, len(ids))
            if (keep := rows >= 0).all():
                yield ids, rows, X
            elif keep.any():
                yield [id_ for id_, kept in zip(ids, keep, strict=True) if kept], rows[keep], X[keep]

    def _fetch(
        self, position: dict[str, int], batch_rows: int
    ) -> Iterator[tuple[list[str], NDArray[np.int64], NDArray[np.float32]]]:
        ids = self._common_ids(position)
        streams = [
            features.stream(ids, batch_rows, version=self.snapshot.of(features.table))
            for features in self.features.values()
        ]
        for parts in zip(*streams, strict=True):
            some = parts[0][0]
            rows = np.fromiter((position[id_] for id_ in some), np.int64, len(some))
            yield some, rows, np.concatenate([X for _, X in parts], axis=1)

    def _common_ids(self, wanted: Iterable[str]) -> list[str]:
        """Those of `wanted` that every encoder has, in the first encoder's stored order."""
        first, *others = [features.ids(version=self.snapshot.of(features.table)) for features in self.features.values()]
        keep = pc.is_in(first, value_set=pa.array(list(wanted), pa.string()))
        for ids in others:
            keep = pc.and_(keep, pc.is_in(first, value_set=ids.combine_chunks()))
        return strings(first.filter(keep))


def select(
    labels: Labels,
    task: str,
    features: dict[str, Features],
    snapshot: Snapshot,
    splits: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> Selection:
    """Read the labels of a task at `snapshot`. Raises UnknownTask, BadSplit."""
    if not features:
        raise ValueError("name at least one encoder")
    rows = labels.get(task, version=snapshot.of(labels.table))
    classes = classes_of(rows) if classes is None else tuple(classes)
    if splits is not None:
        wanted = pa.array([check_split(split) for split in splits], pa.string())
        rows = rows.filter(pc.is_in(rows["split"], value_set=wanted))
    return Selection(task, features, snapshot, rows.select(["id", "labels", "split"]).sort_by("id"), classes)
