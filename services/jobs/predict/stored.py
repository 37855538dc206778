"""The rows of a store that a head predicts: chosen by task or by a condition, read in the order of their vectors."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from classifiers.published.head import PublishedHead
from services.jobs.errors import BadCondition
from services.jobs.predict.parts import Part
from services.jobs.predict.vectors import HeadVectors, Share
from store import Snapshot, Store
from store.errors import UnknownTask
from store.join import Positions
from store.rows import Column

PART_ROWS = 131072
"""Rows of a part of the journal."""


@dataclass(frozen=True, slots=True)
class StoreOpener:
    """Opens the chosen rows in another process, which must reach the store under the same URI."""

    store: str
    snapshot: str
    task: str | None
    where: str | None

    def open(self, head: PublishedHead, threads: int) -> "StoredRows":  # noqa: ARG002 - nothing is embedded
        """Return the rows. Raises NoStore, and the errors of `StoredRows`."""
        store = Store.open(self.store, must_exist=True)
        return StoredRows(store, head, Snapshot.from_json(self.snapshot), self.task, self.where)


class Lookup:
    """A column by id; null for an id without a row."""

    def __init__(self, ids: Column, values: Column) -> None:
        self._positions, self._values = Positions(ids), values

    def of(self, ids: Column) -> Column:
        where = self._positions.of(ids)
        found: Column = self._values.take(pa.array(where, mask=where < 0))
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


class StoredRows:
    """The chosen rows at one snapshot; see `HeadVectors`.

    Args:
        task: only assets that it labels; None for all. The truth then is that of the head's own task.
        where: SQL condition on the columns of assets; None for all.

    Raises UnknownTask, BadCondition, UnknownFeatures.
    """

    def __init__(
        self, store: Store, head: PublishedHead, snapshot: Snapshot, task: str | None, where: str | None
    ) -> None:
        self._store, self._vectors = store, HeadVectors(store, head, snapshot)
        self.opener = StoreOpener(store.uri, snapshot.to_json(), task, where)
        self._wanted = chosen_assets(store, snapshot, task, where)
        self._chosen = None if self._wanted is None else Positions(self._wanted)
        assets = store.assets.table.read(["id", "uri"], version=snapshot.of(store.assets.table))
        self._paths = Lookup(assets["id"], assets["uri"].combine_chunks())
        labels = _labels(store, snapshot, task or head.manifest.task, required=task is not None)
        self._truths = Lookup(labels["id"], labels["labels"].combine_chunks())

    def named(self, part: Part) -> tuple[Column, Column]:
        """Return the path of each row, and its labels: list<string>, null where they are unknown."""
        return self._paths.of(part.ids), self._truths.of(part.ids)

    @property
    def part_rows(self) -> int:
        return PART_ROWS

    @property
    def rows(self) -> int:
        """Number of rows of the source, chosen or not."""
        return self._vectors.rows

    @property
    def chosen(self) -> int:
        """Number of chosen assets, with a vector or without; of the whole store, those that an encoder takes."""
        if self._wanted is not None:
            return len(self._wanted)
        counts = self._store.assets.modalities()
        return max(self._vectors.most_rows, sum(counts.get(modality, 0) for modality in self._vectors.modalities))

    def parts(self, start: int) -> Iterator[Part]:
        """Yield the rows from source row `start` on."""
        return self._vectors.parts(start, self._chosen)

    def shares(self, start: int) -> Iterator[Share]:
        """Yield the rows from source row `start` on in shares that begin where a batch of `parts` begins."""
        return self._vectors.shares(start)

    def read(self, share: Share) -> Iterator[Part]:
        return self._vectors.read(share, self._chosen)


def chosen_assets(store: Store, snapshot: Snapshot, task: str | None, where: str | None) -> Column | None:
    """Return the ids of the chosen assets; None for all. Raises UnknownTask, BadCondition."""
    chosen: Column | None = None
    if task is not None:
        chosen = _labels(store, snapshot, task, required=True)["id"]
    if where is not None:
        table = store.assets.table
        try:
            ids = table.read(["id"], where=where, version=snapshot.of(table))["id"]
        except (ValueError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0][:300]
            raise BadCondition(
                f"the condition {where[:200]!r} cannot be used ({reason}); write SQL on the columns id, uri, modality, "
                "media_type, width, height, seconds and added_at, such as uri LIKE '%/2019/%'"
            ) from error
        chosen = ids if chosen is None else chosen.filter(pc.is_in(chosen, value_set=ids.combine_chunks()))
    return None if chosen is None else chosen.combine_chunks()


def _labels(store: Store, snapshot: Snapshot, task: str, *, required: bool) -> pa.Table:
    """Return the labels of a task; an empty table if there are none and they are not required."""
    try:
        return store.labels.get(task, version=snapshot.of(store.labels.table))
    except UnknownTask:
        if required:
            raise
        return store.labels.table.schema.empty_table()
