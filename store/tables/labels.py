"""The table of labels: the labels and the split of each asset in each task."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import BadLabels, FrozenSplit, Unavailable, UnknownTask
from store.lance.database import Database
from store.lance.table import FEW, Table
from store.rows import Column, quoted, strings
from store.schema import LABELS, Label, check_split, now, split_of

_CHUNK = 65536
_ROUNDS = 100
_COLUMNS = ["id", "labels", "split", "source", "at"]


class Labels:
    """The table `labels`. One row for each (id, task) holds the latest labels, and a split that stays the same.

    The first `put` sets an asset's split in a task: the given split, or one by hash of the id. Later rows without a
    split keep it. A later row with another split raises FrozenSplit, because a test row that silently moves to
    training would invalidate every figure measured before. `move_splits=True` moves it.
    """

    def __init__(self, database: Database) -> None:
        self.table = Table(database, "labels", LABELS)

    def put(self, task: str, rows: Iterable[Label], *, move_splits: bool = False) -> int:
        """Store labels, and return the number of rows that were new or changed.

        If an id is given twice, the last row counts. Rows are written in chunks, and each chunk as a whole or not at
        all. Raises BadLabels, BadSplit, and FrozenSplit unless `move_splits`.
        """
        _check_task(task)
        rows = iter(rows)
        changed = 0
        while chunk := {row.id: row for row in islice(rows, _CHUNK)}:
            changed += self._put_chunk(task, chunk, move_splits)
        return changed

    def require(self, task: str, rows: Iterable[Label]) -> None:
        """Raise what `put` would raise for these rows: BadLabels, BadSplit or FrozenSplit. Nothing is written."""
        _check_task(task)
        given = {row.id: row for row in rows}
        for row in given.values():
            _check(row)
        for start in range(0, len(given), _CHUNK):
            some = dict(islice(given.items(), start, start + _CHUNK))
            _require_same_splits(task, some, self._stored(task, list(some)))

    def merge(self, rows: pa.Table) -> int:
        """Store complete rows (columns of LABELS, of any tasks). A row replaces a stored one if it is newer.

        Returns the number of rows that were new or newer. Raises BadLabels, BadSplit and FrozenSplit as `put` does.
        """
        self.require_all(rows)
        return self.table.upsert(rows, where="target.at < source.at AND target.split = source.split").rows

    def require_all(self, rows: pa.Table) -> None:
        """Raise what `merge` would raise for these rows. Nothing is written."""
        for task in strings(pc.unique(rows["task"])):
            part = rows.filter(pc.equal(rows["task"], pa.scalar(task))).to_pylist()
            self.require(task, (Label(row["id"], row["labels"], row["split"], row["source"]) for row in part))

    def _put_chunk(self, task: str, waiting: dict[str, Label], move_splits: bool) -> int:
        for row in waiting.values():
            _check(row)
        # Compare-and-set: a stored row is replaced only if its split is still the one read in this round.
        where = None if move_splits else "target.split = source.split"
        changed = 0
        for _ in range(_ROUNDS):
            stored = self._stored(task, list(waiting))
            if not move_splits:
                _require_same_splits(task, waiting, stored)
            given = [row for row in map(_filled(task, stored), waiting.values()) if row is not None]
            written = self.table.upsert(pa.Table.from_pylist(given, schema=LABELS), where=where).rows
            changed += written
            if written == len(given):
                return changed
        raise Unavailable(
            f"other processes changed the labels of task {task!r} in each of {_ROUNDS} attempts; try again"
        )

    def _stored(self, task: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        where = _of(task) + (f" AND id IN ({', '.join(map(quoted, ids))})" if len(ids) <= FEW else "")
        rows = self.table.read(["id", "labels", "split", "source"], where=where)
        if len(ids) > FEW:
            rows = rows.filter(pc.is_in(rows["id"], value_set=pa.array(ids, pa.string())))
        return {row["id"]: row for row in rows.to_pylist()}

    def prune(self, task: str, source: str) -> None:
        """Remove the task's rows of every source but `source`, after a program has rewritten the whole task."""
        self.table.delete(f"{_of(task)} AND source != {quoted(source)}")

    def get(self, task: str, *, version: int | None = None) -> pa.Table:
        """Return all rows of a task: id, labels list<string>, split, source, at (UTC). Raises UnknownTask."""
        rows = self.table.read(_COLUMNS, where=_of(task), version=version)
        if not rows.num_rows:
            raise UnknownTask(task, sorted(self.tasks(version=version)))
        return rows

    def tasks(self, *, version: int | None = None) -> dict[str, int]:
        """Return {task: number of labelled assets}, sorted by name."""
        counts: Column = pc.value_counts(self.table.read(["task"], version=version)["task"].combine_chunks())
        return dict(sorted((pair["values"], pair["counts"]) for pair in counts.to_pylist()))

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


def _check_task(task: str) -> None:
    if not task:
        raise BadLabels("the name of a task must not be empty")


def _check(row: Label) -> None:
    if isinstance(row.labels, str) or not all(isinstance(label, str) and label for label in row.labels):
        raise BadLabels(f"labels of {row.id} must be a list of non-empty strings, not {row.labels!r}")
    if row.split is not None:
        check_split(row.split)


def _require_same_splits(task: str, rows: dict[str, Label], stored: dict[str, dict[str, Any]]) -> None:
    moves = [
        (id_, stored[id_]["split"], row.split)
        for id_, row in rows.items()
        if row.split is not None and id_ in stored and stored[id_]["split"] != row.split
    ]
    if moves:
        raise FrozenSplit(task, moves)


def _filled(task: str, stored: dict[str, dict[str, Any]]) -> Callable[[Label], dict[str, Any] | None]:
    """Return a function that turns a Label into the row to write, with its split; None if that row is stored."""
    at = now()

    def fill(row: Label) -> dict[str, Any] | None:
        old = stored.get(row.id)
        split = row.split or (old["split"] if old else split_of(row.id))
        new = {"id": row.id, "labels": list(row.labels), "split": split, "source": row.source}
        return None if new == old else new | {"task": task, "at": at}

    return fill
