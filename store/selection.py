"""The join of a task's labelled rows with their vectors, as one matrix or as a stream of batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from store.join import Positions
from store.matrix import Matrix, codes_of
from store.rows import Column, strings
from store.schema import check_split
from store.snapshot import Snapshot
from store.tables.features import Features
from store.tables.label_queries import classes_of
from store.tables.labels import Labels

BATCH_ROWS = 16384
"""Maximum number of rows that are read at once, unless a caller asks for another number."""

_Part = tuple[Column, NDArray[np.int64], NDArray[np.float32]]

_SPARSE = 8
"""Rows are looked up, instead of reading the whole table, if at most one row in this many is needed."""


@dataclass(frozen=True)
class Selection:
    """The rows to join: the labelled rows (id, labels, split) of a task, and the encoders' feature tables."""

    task: str
    features: dict[str, Features]
    snapshot: Snapshot
    rows: pa.Table
    classes: tuple[str, ...]

    @property
    def blocks(self) -> dict[str, slice]:
        """Columns of X that hold the vector of each encoder."""
        ends = np.cumsum([0, *(features.shape[0] for features in self.features.values())]).tolist()
        return {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(self.features)}

    def matrix(self) -> Matrix:
        """Read all vectors and join them. Rows without a vector of some encoder are dropped and counted."""
        rows = self.rows.sort_by("id")
        X = np.empty((rows.num_rows, sum(f.shape[0] for f in self.features.values())), np.float32)
        complete = np.ones(rows.num_rows, np.bool_)
        positions = Positions(rows["id"])
        for name, block in self.blocks.items():
            have = np.zeros(rows.num_rows, np.bool_)
            for _, where, part in self._vectors(self.features[name], rows["id"], positions, BATCH_ROWS):
                X[where, block] = part
                have[where] = True
            complete &= have
        dropped = int(np.count_nonzero(~complete))
        if dropped:
            rows, X = rows.filter(pa.array(complete)), X[complete]
        return Matrix(
            task=self.task,
            ids=strings(rows["id"]),
            X=X,
            labels=rows["labels"].combine_chunks(),
            classes=self.classes,
            splits=np.array(strings(rows["split"]), np.str_),
            blocks=self.blocks,
            fingerprints={name: features.fingerprint for name, features in self.features.items()},
            snapshot=self.snapshot,
            dropped=dropped,
        )

    def stream(self, batch_rows: int, share: tuple[int, int] | None = None) -> Iterator[_Part]:
        """Yield (ids, their positions in `rows`, X) of the rows that have a vector of every encoder.

        `share` is that of `Store.batches`.
        """
        positions = Positions(self.rows["id"])
        if share is not None:
            (features,) = self.features.values()
            yield from self._scanned(features, positions, batch_rows, share)
            return
        if len(self.features) == 1:
            (features,) = self.features.values()
            yield from self._vectors(features, self.rows["id"], positions, batch_rows)
            return
        ids = self._common_ids(positions)
        asked = strings(ids)
        streams = [f.stream(asked, batch_rows, version=self.snapshot.of(f.table)) for f in self.features.values()]
        for start, parts in zip(range(0, len(ids), batch_rows), zip(*streams, strict=True), strict=True):
            some = ids.slice(start, batch_rows)
            yield some, positions.of(some), np.concatenate([X for _, X in parts], axis=1)

    def _vectors(self, features: Features, ids: Column, positions: Positions, batch_rows: int) -> Iterator[_Part]:
        """Yield (ids, their positions, X) for those of `ids` that have a vector of this encoder."""
        version = self.snapshot.of(features.table)
        if _SPARSE * len(ids) < features.table.count(version=version):
            for found, X in features.stream(strings(ids), batch_rows, version=version):
                some = pa.array(found, pa.string())
                yield some, positions.of(some), X
            return
        yield from self._scanned(features, positions, batch_rows)

    def _scanned(
        self, features: Features, positions: Positions, batch_rows: int, share: tuple[int, int] | None = None
    ) -> Iterator[_Part]:
        version = self.snapshot.of(features.table)
        for some, X in features.scan(batch_rows, version=version, share=share):
            where = positions.of(some)
            if (keep := where >= 0).all():
                yield some, where, X
            elif keep.any():
                yield some.filter(pa.array(keep)), where[keep], X[keep]

    def _common_ids(self, positions: Positions) -> Column:
        """Return the selected ids that have a vector of every encoder, in the first encoder's stored order."""
        first, *others = [f.ids(version=self.snapshot.of(f.table)) for f in self.features.values()]
        keep = positions.of(first) >= 0
        for ids in others:
            keep &= Positions(ids).of(first) >= 0
        return first.filter(pa.array(keep)).combine_chunks()


class Batches:
    """Labelled vectors as a stream of batches, with bounded memory. Each iteration is a new pass.

    Yields (ids list[str], X float32 (m, d), codes int64 (m,)) in the order of the first encoder's table, which is not
    sorted by id. m is at most `batch_rows`, and X may be a read-only view. A code is an index into `classes`, -1 for a
    label that is not a class. The ids and codes of all rows stay in memory, the vectors do not.

    The vectors of one encoder stream at the speed of a scan. Those of several encoders are looked up row by row,
    because the order of their tables differs, and take about ten times as long: `Store.matrix` is faster if the rows
    fit in memory.

    Attributes:
        dropped: number of labelled rows that lack a vector of some encoder or are not in the share. None before the
            first complete pass.
    """

    def __init__(self, selection: Selection, batch_rows: int, share: tuple[int, int] | None = None) -> None:
        self._selection, self._batch_rows, self._share = selection, batch_rows, share
        self.classes = selection.classes
        self.blocks = selection.blocks
        self.dropped: int | None = None

    def __iter__(self) -> Iterator[tuple[list[str], NDArray[np.float32], NDArray[np.int64]]]:
        rows = self._selection.rows
        codes = codes_of(
            rows["id"].combine_chunks(), rows["labels"].combine_chunks(), self.classes, self._selection.task
        )
        seen = 0
        for ids, where, X in self._selection.stream(self._batch_rows, self._share):
            seen += len(where)
            yield strings(ids), X, codes[where]
        self.dropped = rows.num_rows - seen


def select(
    labels: Labels,
    task: str,
    features: dict[str, Features],
    snapshot: Snapshot,
    splits: Sequence[str] | None,
    classes: Sequence[str] | None,
    rows: pa.Table | None,
) -> Selection:
    """Select a task's labelled rows at `snapshot` for a join with `features`.

    The arguments are those of `Store.matrix`. Raises UnknownTask, BadSplit, and ValueError if there are no encoders.
    """
    if not features:
        raise ValueError("no encoder was given; give at least one encoder whose vectors are stored")
    rows = labels.get(task, version=snapshot.of(labels.table)) if rows is None else rows
    rows = rows.select(["id", "labels", "split"])
    classes = classes_of(rows) if classes is None else tuple(classes)
    if splits is not None:
        wanted = pa.array([check_split(split) for split in splits], pa.string())
        rows = rows.filter(pc.is_in(rows["split"], value_set=wanted))
    return Selection(task, features, snapshot, rows, classes)
