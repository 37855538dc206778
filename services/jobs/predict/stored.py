"""The rows of a store that a head predicts: chosen by task or by a condition, read in the order of their vectors."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.published.inputs import Input
from services.jobs.errors import BadCondition
from services.jobs.predict.parts import Group, Part, groups
from store import Features, Snapshot, Store
from store.errors import UnknownFeatures, UnknownTask
from store.join import Positions
from store.lance.fragments import shares
from store.rows import Column, strings

BATCH_ROWS = 8192
"""Rows that one thread predicts at a time."""

BATCH_NUMBERS = BATCH_ROWS * 512
"""Numbers of these rows; wider rows are read in smaller batches."""


PART_ROWS = 131072
"""Rows of a part of the journal."""

SHARE_BATCHES = 4
"""Batches of a share: reading them takes a worker much longer than asking for them."""

Share = tuple[int, int]
"""First row, number of rows."""


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
    """The chosen rows at one snapshot.

    A fused head answers from the encoders that a row has; other heads answer only rows that have all their inputs.

    Args:
        task: only assets that it labels; None for all. The truth then is that of the head's own task.
        where: SQL condition on the columns of assets; None for all.

    Raises UnknownTask, BadCondition, UnknownFeatures.
    """

    def __init__(
        self, store: Store, head: PublishedHead, snapshot: Snapshot, task: str | None, where: str | None
    ) -> None:
        self._store, self._head, self._snapshot = store, head, snapshot
        self.opener = StoreOpener(store.uri, snapshot.to_json(), task, where)
        self._tables = _tables(store, head, snapshot)
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
        _, first = self._tables[0]
        return first.table.count(version=self._version(first))

    @property
    def chosen(self) -> int:
        """Number of chosen assets, with a vector or without; of the whole store, those that an encoder takes."""
        if self._wanted is not None:
            return len(self._wanted)
        taken = {modality for _, table in self._tables for modality in table.spec.modalities}
        counts = self._store.assets.modalities()
        return max(self.rows, sum(counts.get(modality, 0) for modality in taken))

    def parts(self, start: int) -> Iterator[Part]:
        """Yield the rows from source row `start` on."""
        if start < self.rows:
            yield from self._scanned((start, self.rows - start) if start else None)

    def shares(self, start: int) -> Iterator[Share]:
        """Yield the rows from source row `start` on in shares that begin where a batch of `parts` begins."""
        _, first = self._tables[0]
        count = -(-self.rows // (SHARE_BATCHES * self._batch_rows))
        for at, rows in shares(first.table, self._version(first), count, self._batch_rows):
            if at + rows > start:
                yield max(at, start), at + rows - max(at, start)

    def read(self, share: Share) -> Iterator[Part]:
        return self._scanned(share)

    @property
    def _batch_rows(self) -> int:
        _, first = self._tables[0]
        return max(1, min(BATCH_ROWS, BATCH_NUMBERS // math.prod(first.shape)))

    def _scanned(self, share: Share | None) -> Iterator[Part]:
        _, first = self._tables[0]
        for ids, X in first.scan(self._batch_rows, version=self._version(first), share=share):
            keep = None if self._chosen is None else self._chosen.of(ids) >= 0
            if keep is None or keep.all():
                yield self._part(ids, X, len(ids))
            else:
                yield self._part(ids.filter(pa.array(keep)), X[keep], len(ids))

    def _part(self, ids: Column, X: NDArray[np.float32], source_rows: int) -> Part:
        flat = X.reshape(len(ids), math.prod(X.shape[1:]))
        if len(self._tables) == 1 and len(self._head.inputs) == 1:
            return Part(source_rows, ids, [(self._head, np.arange(len(ids)), flat)])
        return Part(source_rows, ids, list(self._groups(strings(ids), flat)))

    def _groups(self, ids: list[str], first: NDArray[np.float32]) -> Iterator[Group]:
        have = np.ones((len(ids), len(self._tables)), np.bool_)
        blocks = [first]
        row_of = {id_: row for row, id_ in enumerate(ids)}
        for column, (_, table) in enumerate(self._tables[1:], start=1):
            found, X = table.get(ids, version=self._version(table))
            rows = [row_of[id_] for id_ in found]
            block = np.zeros((len(ids), math.prod(table.shape)), np.float32)
            block[rows], have[:, column] = X.reshape(len(found), math.prod(table.shape)), False
            have[rows, column] = True
            blocks.append(block)
        return groups(self._head, [each for each, _ in self._tables], have, blocks)

    def _version(self, table: Features) -> int:
        return self._snapshot.of(table.table)


def _tables(store: Store, head: PublishedHead, snapshot: Snapshot) -> list[tuple[Input, Features]]:
    """Return the tables of the head's inputs, the largest at the snapshot first.

    A table that is filled meanwhile must not come first: its rows have another order.

    Raises UnknownFeatures if the head needs others.
    """
    found: list[tuple[Input, Features]] = []
    missing: list[str] = []
    for encoder, each in zip(head.manifest.encoders, head.inputs, strict=True):
        try:
            table = store.tokens(each.fingerprint) if each.tokens else store.features(each.fingerprint)
            found.append((each, table))
        except UnknownFeatures:
            missing.append(encoder.name)
    if not head.can_answer([each for each, _ in found]):
        raise UnknownFeatures(
            missing[0],
            [f"{each.name} ({each.fingerprint[:12]})" for each in store.encoders()],
            "tokens" if head.head.reads_tokens else "vectors",
        )
    return sorted(found, key=lambda pair: -pair[1].table.count(version=snapshot.of(pair[1].table)))


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
