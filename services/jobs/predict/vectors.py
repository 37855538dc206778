"""The stored vectors that a head reads, as a stream of parts with bounded memory."""

import math
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.published.inputs import Input
from services.jobs.predict.parts import Group, Part, groups
from store import Features, Snapshot, Store
from store.errors import UnknownFeatures
from store.join import Positions
from store.lance.fragments import shares
from store.rows import Column, strings

BATCH_ROWS = 8192
"""Rows that one thread predicts at a time."""

BATCH_NUMBERS = BATCH_ROWS * 512
"""Numbers of these rows; wider rows are read in smaller batches."""

SHARE_BATCHES = 4
"""Batches of a share: reading them takes a worker much longer than asking for them."""

Share = tuple[int, int]
"""First row of the source, number of rows. All rows of a share are in one table."""


class HeadVectors:
    """The rows that a head can answer at one snapshot, in the order of the tables of its inputs, the largest first.

    A fused head answers from the encoders that a row has, so the rows of the smaller tables that are not in a larger
    one follow. Other heads answer only rows that have all their inputs. Raises UnknownFeatures if a table is missing
    without which the head answers no row.
    """

    def __init__(self, store: Store, head: PublishedHead, snapshot: Snapshot) -> None:
        self._head, self._snapshot = head, snapshot
        self._tables = _tables(store, head, snapshot)
        self._sources = self._tables if head.head.partial else self._tables[:1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tables that are read."""
        return tuple(table.table.name for _, table in self._tables)

    @property
    def rows(self) -> int:
        """Number of rows of the source; one that several tables have counts several times."""
        return sum(self._count(table) for _, table in self._sources)

    @property
    def most_rows(self) -> int:
        """Number of rows of the largest table."""
        return self._count(self._tables[0][1])

    @property
    def modalities(self) -> set[str]:
        """Modalities that an encoder of the head takes."""
        return {modality for _, table in self._tables for modality in table.spec.modalities}

    def parts(self, start: int = 0, chosen: Positions | None = None) -> Iterator[Part]:
        """Yield the rows from source row `start` on.

        Args:
            chosen: the ids to keep; None for all.
        """
        for number, (first, rows) in enumerate(self._bounds()):
            if start < first + rows:
                left = max(start, first) - first
                yield from self._parts_of(number, (left, rows - left) if left else None, chosen)

    def shares(self, start: int = 0) -> Iterator[Share]:
        """Yield the rows from source row `start` on in shares that begin where a part of `parts` begins."""
        for number, (first, rows) in enumerate(self._bounds()):
            table, step = self._tables[number][1], self._batch_rows(number)
            count = -(-rows // (SHARE_BATCHES * step))
            for at, size in shares(table.table, self._version(table), count, step):
                if (end := first + at + size) > start:
                    begin = max(first + at, start)
                    yield begin, end - begin

    def read(self, share: Share, chosen: Positions | None = None) -> Iterator[Part]:
        """Yield the rows of a share. Those of all shares are the same parts as `parts` yields."""
        start, size = share
        firsts = [first for first, _ in self._bounds()]
        number = bisect_right(firsts, start) - 1
        return self._parts_of(number, (start - firsts[number], size), chosen)

    def _bounds(self) -> list[Share]:
        """Return the first source row and the number of rows of each table that is read from its start."""
        rows = [self._count(table) for _, table in self._sources]
        return list(zip(accumulate(rows[:-1], initial=0), rows, strict=True))

    def _batch_rows(self, number: int) -> int:
        return max(1, min(BATCH_ROWS, BATCH_NUMBERS // math.prod(self._tables[number][1].shape)))

    def _parts_of(self, number: int, share: Share | None, chosen: Positions | None) -> Iterator[Part]:
        """Yield the rows of one table that no table before it has; of a `share` of its rows, None for all."""
        table = self._tables[number][1]
        before = [Positions(each.ids(version=self._version(each))) for _, each in self._tables[:number]]
        for ids, X in table.scan(self._batch_rows(number), version=self._version(table), share=share):
            keep = np.ones(len(ids), np.bool_) if chosen is None else chosen.of(ids) >= 0
            for known in before:
                keep &= known.of(ids) < 0
            if keep.all():
                yield self._part(number, ids, X, len(ids))
            else:
                yield self._part(number, ids.filter(pa.array(keep)), X[keep], len(ids))

    def _part(self, number: int, ids: Column, X: NDArray[np.float32], source_rows: int) -> Part:
        flat = X.reshape(len(ids), math.prod(X.shape[1:]))
        if len(self._tables) == 1 and len(self._head.inputs) == 1:
            return Part(source_rows, ids, [(self._head, np.arange(len(ids)), flat)])
        return Part(source_rows, ids, list(self._groups(number, strings(ids), flat)))

    def _groups(self, number: int, ids: list[str], own: NDArray[np.float32]) -> Iterator[Group]:
        """Yield groups of rows that have `own` vectors in one table, none in those before it, others looked up."""
        have = np.zeros((len(ids), len(self._tables)), np.bool_)
        have[:, number] = True
        blocks = [*(own[:, :0] for _ in range(number)), own]
        row_of = {id_: row for row, id_ in enumerate(ids)}
        for column, (_, table) in enumerate(self._tables[number + 1 :], start=number + 1):
            found, X = table.get(ids, version=self._version(table))
            rows = [row_of[id_] for id_ in found]
            block = np.zeros((len(ids), math.prod(table.shape)), np.float32)
            block[rows] = X.reshape(len(found), math.prod(table.shape))
            have[rows, column] = True
            blocks.append(block)
        return groups(self._head, [each for each, _ in self._tables], have, blocks)

    def _count(self, table: Features) -> int:
        return table.table.count(version=self._version(table))

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
