"""The table of labels: the labels and the split of each asset in each task, and how they change."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import TaskExists, Unavailable
from store.lance.database import Database
from store.lance.table import FEW
from store.rows import among, quoted, strings
from store.schema import LABEL_HISTORY, LABELS, Label, now
from store.tables import label_rows
from store.tables.group_splits import proposed
from store.tables.label_queries import COLUMNS, LabelQueries, of_task

_CHUNK = 65536
_ROUNDS = 100


class Labels(LabelQueries):
    """The table `labels`. One row for each (id, task) holds the latest labels, and a split that stays the same.

    The first `put` sets an asset's split in a task: the given split, that of its group (see
    `store.tables.group_splits`), or one by hash of the id. Later rows without a split keep it. A later row with another
    split raises FrozenSplit, because a test row that silently moves to training would invalidate every figure measured
    before. `move_splits=True` moves it. An asset whose labels were removed gets its last split and group back.

    Every change keeps the rows that it replaces or removes in `history`, and has one time, by which `store.tables.undo`
    takes it back. Changes take turns: in object storage, which has no lock, let one process at a time change labels.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._database = database

    def turn(self) -> AbstractContextManager[None]:
        """Return a block during which no other process or thread changes labels."""
        return self._database.turn("labels")

    def compact(self) -> None:
        """Join the small fragments that many changes have left, here and in the history."""
        for table in (self.table, self.history.table):
            table.optimize(None)

    def put(self, task: str, rows: Iterable[Label], *, move_splits: bool = False, at: datetime | None = None) -> int:
        """Store labels, and return the number of rows that were new or changed.

        If an id is given twice, the last row counts. Rows are written in chunks, and each chunk as a whole or not at
        all. Raises BadLabels, BadSplit, and FrozenSplit unless `move_splits`.

        Args:
            at: time of the change; None for now. Several calls with one time are one change.
        """
        label_rows.check_task(task)
        rows = iter(rows)
        changed = 0
        while chunk := {row.id: row for row in islice(rows, _CHUNK)}:
            for row in chunk.values():
                label_rows.check(row)
            with self.turn():
                at = at or now()  # in its turn, so that the order of times is the order of changes
                changed += self._put_chunk(task, chunk, move_splits, at)
        return changed

    def require(self, task: str, rows: Iterable[Label]) -> None:
        """Raise what `put` would raise for these rows: BadLabels, BadSplit or FrozenSplit. Nothing is written."""
        label_rows.check_task(task)
        given = {row.id: row for row in rows}
        for row in given.values():
            label_rows.check(row)
        for start in range(0, len(given), _CHUNK):
            some = dict(islice(given.items(), start, start + _CHUNK))
            label_rows.require_same_splits(task, some, self._stored(task, list(some)))

    def merge(self, rows: pa.Table) -> int:
        """Store complete rows (columns of LABELS, of any tasks). A row replaces a stored one if it is newer.

        Returns the number of rows that were new or newer. Raises BadLabels, BadSplit and FrozenSplit as `put` does.
        """
        self.require_all(rows)
        with self.turn():
            self._keep_older(rows)
            return self.table.upsert(rows, where="target.at < source.at AND target.split = source.split").rows

    def _keep_older(self, rows: pa.Table) -> None:
        """Keep the stored rows that newer ones among `rows` are about to replace."""
        for task in strings(pc.unique(rows["task"])):
            given = {row["id"]: row for row in rows.filter(pc.equal(rows["task"], pa.scalar(task))).to_pylist()}
            olds = [
                {**old, "task": task, "until": given[id_]["at"], "by": given[id_]["source"]}
                for id_, old in self._stored(task, list(given)).items()
                if old["at"] < given[id_]["at"]
            ]
            self._keep(olds)

    def _keep(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep rows of labels with the time and the source of the change that ends them."""
        table = pa.Table.from_pylist([{"undone": False, **row} for row in rows], schema=LABEL_HISTORY)
        self.history.table.upsert(table)

    def require_all(self, rows: pa.Table) -> None:
        """Raise what `merge` would raise for these rows. Nothing is written."""
        for task in strings(pc.unique(rows["task"])):
            part = rows.filter(pc.equal(rows["task"], pa.scalar(task))).to_pylist()
            self.require(task, (Label(row["id"], row["labels"], row["split"], row["source"]) for row in part))

    def _put_chunk(self, task: str, waiting: dict[str, Label], move_splits: bool, at: datetime) -> int:
        # Compare-and-set: a stored row is replaced only if its split is still the one read in this round.
        where = None if move_splits else "target.split = source.split"
        changed = 0
        for _ in range(_ROUNDS):
            stored = self._stored(task, list(waiting))
            if not move_splits:
                label_rows.require_same_splits(task, waiting, stored)
            before = self.history.last(task, [id_ for id_ in waiting if id_ not in stored])
            new = [row for row in waiting.values() if row.split is None and row.id not in stored | before]
            fill = label_rows.filled(task, stored, before, self._splits_of_groups(task, new), at)
            given = [row for row in map(fill, waiting.values()) if row is not None]
            self._keep(
                [
                    {**stored[row["id"]], "task": task, "until": at, "by": row["source"]}
                    for row in given
                    if row["id"] in stored and stored[row["id"]]["at"] != at
                ]
            )
            written = self.table.upsert(pa.Table.from_pylist(given, schema=LABELS), where=where).rows
            changed += written
            if written == len(given):
                return changed
        raise Unavailable(
            f"other processes changed the labels of task {task!r} in each of {_ROUNDS} attempts; try again"
        )

    def _stored(self, task: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        where = of_task(task) + (f" AND {among('id', ids)}" if len(ids) <= FEW else "")
        rows = self.table.read(COLUMNS, where=where)
        if len(ids) > FEW:
            rows = rows.filter(pc.is_in(rows["id"], value_set=pa.array(ids, pa.string())))
        return {row["id"]: row for row in rows.to_pylist()}

    def _splits_of_groups(self, task: str, rows: Sequence[Label]) -> dict[str, str]:
        """Return the split of each group of new rows that have none: that of its stored rows, or a proposed one."""
        sizes = Counter(row.group for row in rows if row.group)
        if not sizes:
            return {}
        stored = self.table.read(["group", "split"], where=of_task(task))
        return proposed(sizes, Counter(zip(stored["group"].to_pylist(), strings(stored["split"]), strict=True)))

    def prune(self, task: str, source: str, *, at: datetime | None = None) -> None:
        """Remove the task's rows of every source but `source`, after a program has rewritten the whole task."""
        self._remove(f"{of_task(task)} AND source != {quoted(source)}", source, at)

    def remove(self, task: str, ids: Iterable[str], *, source: str = "", at: datetime | None = None) -> int:
        """Remove the labels of assets in a task, and return the number of rows removed. Ids without labels are ignored.

        Args:
            source: free text that says who or what removed them.
            at: time of the change; None for now.
        """
        listed = list(dict.fromkeys(ids))
        at = (at or now()) if len(listed) > FEW else at
        parts = (listed[start : start + FEW] for start in range(0, len(listed), FEW))
        return sum(self._remove(f"{of_task(task)} AND {among('id', some)}", source, at) for some in parts)

    def remove_task(self, task: str, *, source: str = "") -> int:
        """Remove all labels of a task, and return the number of rows removed. Raises UnknownTask."""
        self.require_task(task)
        return self._remove(of_task(task), source, None)

    def rename_task(self, task: str, new: str) -> int:
        """Give a task another name, with its history, and return the number of its rows. Run it again after a kill.

        Raises BadLabels for an empty name, UnknownTask, and TaskExists if `new` has labels.
        """
        label_rows.check_task(new)
        with self.turn():
            self.require_task(task)
            if self.table.count(of_task(new)):
                raise TaskExists(new)
            self.history.table.update(of_task(task), {"task": new})
            return self.table.update(of_task(task), {"task": new})

    def _remove(self, where: str, source: str, at: datetime | None) -> int:
        with self.turn():
            at = at or now()
            for batch in self.table.scan(LABELS.names, where=where):
                self.history.keep(pa.Table.from_batches([batch]), until=at, by=source)
            return self.table.delete(where)
