"""The table of labels: the labels and the split of each asset in each task."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import TaskExists, Unavailable, UnknownTask
from store.lance.database import Database
from store.lance.table import FEW, Table
from store.rows import Column, among, quoted, strings
from store.schema import LABEL_HISTORY, LABELS, Label, LabelRow, check_split, now
from store.tables import label_rows
from store.tables.label_history import LabelHistory

_CHUNK = 65536
_ROUNDS = 100
_COLUMNS = ["id", "labels", "split", "source", "at"]


class Labels:
    """The table `labels`. One row for each (id, task) holds the latest labels, and a split that stays the same.

    The first `put` sets an asset's split in a task: the given split, or one by hash of the id. Later rows without a
    split keep it. A later row with another split raises FrozenSplit, because a test row that silently moves to
    training would invalidate every figure measured before. `move_splits=True` moves it. An asset whose labels were
    removed gets its last split back.

    Every change keeps the rows that it replaces or removes in `history`, and has one time, by which `store.tables.undo`
    takes it back. Changes take turns: in object storage, which has no lock, let one process at a time change labels.
    """

    def __init__(self, database: Database) -> None:
        self.table = Table(database, "labels", LABELS)
        self.history = LabelHistory(database)
        self._database = database

    def turn(self) -> AbstractContextManager[None]:
        """Return a block during which no other process or thread changes labels."""
        return self._database.turn("labels")

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
            before = self.history.splits(task, [id_ for id_ in waiting if id_ not in stored])
            given = [
                row for row in map(label_rows.filled(task, stored, before, at), waiting.values()) if row is not None
            ]
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
        where = _of(task) + (f" AND {among('id', ids)}" if len(ids) <= FEW else "")
        rows = self.table.read(_COLUMNS, where=where)
        if len(ids) > FEW:
            rows = rows.filter(pc.is_in(rows["id"], value_set=pa.array(ids, pa.string())))
        return {row["id"]: row for row in rows.to_pylist()}

    def prune(self, task: str, source: str, *, at: datetime | None = None) -> None:
        """Remove the task's rows of every source but `source`, after a program has rewritten the whole task."""
        self._remove(f"{_of(task)} AND source != {quoted(source)}", source, at)

    def remove(self, task: str, ids: Iterable[str], *, source: str = "", at: datetime | None = None) -> int:
        """Remove the labels of assets in a task, and return the number of rows removed. Ids without labels are ignored.

        Args:
            source: free text that says who or what removed them.
            at: time of the change; None for now.
        """
        listed = list(dict.fromkeys(ids))
        at = (at or now()) if len(listed) > FEW else at
        parts = (listed[start : start + FEW] for start in range(0, len(listed), FEW))
        return sum(self._remove(f"{_of(task)} AND {among('id', some)}", source, at) for some in parts)

    def remove_task(self, task: str, *, source: str = "") -> int:
        """Remove all labels of a task, and return the number of rows removed. Raises UnknownTask."""
        self._require_task(task)
        return self._remove(_of(task), source, None)

    def rename_task(self, task: str, new: str) -> int:
        """Give a task another name, with its history, and return the number of its rows. Run it again after a kill.

        Raises BadLabels for an empty name, UnknownTask, and TaskExists if `new` has labels.
        """
        label_rows.check_task(new)
        with self.turn():
            self._require_task(task)
            if self.table.count(_of(new)):
                raise TaskExists(new)
            self.history.table.update(_of(task), {"task": new})
            return self.table.update(_of(task), {"task": new})

    def page(
        self, task: str, *, label: str | None = None, split: str | None = None, start: int = 0, rows: int = 100
    ) -> tuple[int, list[LabelRow]]:
        """Return the number of matching rows of a task, and some of them in stored order. Raises UnknownTask.

        Args:
            label, split: rows with this label and in this split only; None for all.
            start, rows: number of matching rows to skip, and most rows to return.
        """
        where = _matching(task, label, split)
        count = self.table.count(where)
        if not count:
            self._require_task(task)
        found = self.table.scan(LABELS.names, where=where, share=(start, rows))
        return count, [LabelRow(**row) for batch in found for row in batch.to_pylist()]

    def of(self, id_: str, task: str | None = None) -> list[LabelRow]:
        """Return the current and all former labels of an asset, of one task or of all, the oldest first."""
        where = f"id = {quoted(id_)}" + ("" if task is None else f" AND {_of(task)}")
        rows = [LabelRow(**row) for row in self.table.read(LABELS.names, where=where).to_pylist()]
        return [*self.history.of(id_, task), *rows]

    def _remove(self, where: str, source: str, at: datetime | None) -> int:
        with self.turn():
            at = at or now()
            for batch in self.table.scan(LABELS.names, where=where):
                self.history.keep(pa.Table.from_batches([batch]), until=at, by=source)
            return self.table.delete(where)

    def _require_task(self, task: str) -> None:
        if not self.table.count(_of(task)):
            raise UnknownTask(task, sorted(self.tasks()))

    def get(self, task: str, *, version: int | None = None) -> pa.Table:
        """Return all rows of a task: id, labels list<string>, split, source, at (UTC). Raises UnknownTask."""
        rows = self.table.read(_COLUMNS, where=_of(task), version=version)
        if not rows.num_rows:
            raise UnknownTask(task, sorted(self.tasks(version=version)))
        return rows

    def ids(self, task: str, *, label: str | None = None, split: str | None = None) -> Column:
        """Return the ids of a task's rows, all or those with this label and in this split. Raises UnknownTask."""
        found = self.table.read(["id"], where=_matching(task, label, split))["id"]
        if not len(found):
            self._require_task(task)
        return found

    def tasks(self, *, version: int | None = None) -> dict[str, int]:
        """Return {task: number of labelled assets}, sorted by name."""
        counts: Column = pc.value_counts(self.table.read(["task"], version=version)["task"].combine_chunks())
        return dict(sorted((pair["values"], pair["counts"]) for pair in counts.to_pylist()))

    def summary(self, task: str) -> dict[str, Any]:
        """Return {"rows": number of rows, "classes": number of labels, "splits": {split: rows}} of a task.

        Raises UnknownTask.
        """
        rows = self.get(task)
        counts: Column = pc.value_counts(rows["split"].combine_chunks())
        splits = {pair["values"]: pair["counts"] for pair in counts.to_pylist()}
        return {"rows": rows.num_rows, "classes": len(distinct_labels(rows)), "splits": splits}

    def counts(self, task: str) -> dict[tuple[str, str], int]:
        """Return {(label, split): number of rows} of a task. A row without labels counts for the label ""."""
        counts: Counter[tuple[str, str]] = Counter()
        for batch in self.table.scan(["labels", "split"], where=_of(task)):
            for labels, split in zip(batch["labels"].to_pylist(), strings(batch["split"]), strict=True):
                counts.update((label, split) for label in labels or [""])
        return dict(counts)

    def classes(self, task: str, *, version: int | None = None) -> tuple[str, ...]:
        """Return the classes of a task: the labels of its training rows, sorted. Raises UnknownTask.

        A label without training rows cannot be learnt, so it is not a class. A task without training rows has the
        labels of all its rows except `ood`.
        """
        return classes_of(self.get(task, version=version))


def classes_of(rows: pa.Table) -> tuple[str, ...]:
    """Return what `Labels.classes` returns, from rows (labels, split) that were already read."""
    chosen = rows.filter(pc.equal(rows["split"], pa.scalar("train")))
    if not chosen.num_rows:
        chosen = rows.filter(pc.not_equal(rows["split"], pa.scalar("ood")))
    return distinct_labels(chosen)


def distinct_labels(rows: pa.Table) -> tuple[str, ...]:
    """Return each label that any of the rows has once, sorted."""
    return tuple(sorted(strings(pc.unique(pc.list_flatten(rows["labels"])))))


def _of(task: str) -> str:
    return f"task = {quoted(task)}"


def _matching(task: str, label: str | None, split: str | None) -> str:
    """Return the SQL filter for the rows of a task with this label and in this split; None for any. Raises BadSplit."""
    where = _of(task)
    where += f" AND array_has(labels, {quoted(label)})" if label is not None else ""
    return where + (f" AND split = {quoted(check_split(split))}" if split is not None else "")
