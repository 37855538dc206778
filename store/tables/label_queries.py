"""Reads the table of labels: pages, counts and classes of tasks, and all that an asset had."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import UnknownTask
from store.lance.database import Database
from store.lance.table import Table
from store.rows import Column, quoted, strings
from store.schema import LABELS, LATER, LabelRow, check_split
from store.tables.label_history import LabelHistory

COLUMNS = ["id", "labels", "split", "source", "at", "group"]
"""The columns of the labels of one task."""


class LabelQueries:
    """The labels of each asset in each task, as they are stored."""

    def __init__(self, database: Database) -> None:
        self.table = Table(database, "labels", LABELS, LATER)
        self.history = LabelHistory(database)

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
            self.require_task(task)
        if start >= count:  # LanceDB takes no offset above 2**32
            return count, []
        found = self.table.scan(LABELS.names, where=where, share=(start, rows))
        return count, [LabelRow(**row) for batch in found for row in batch.to_pylist()]

    def of(self, id_: str, task: str | None = None) -> list[LabelRow]:
        """Return the current and all former labels of an asset, of one task or of all, the oldest first."""
        where = f"id = {quoted(id_)}" + ("" if task is None else f" AND {of_task(task)}")
        rows = [LabelRow(**row) for row in self.table.read(LABELS.names, where=where).to_pylist()]
        return [*self.history.of(id_, task), *rows]

    def require_task(self, task: str) -> None:
        """Raise UnknownTask if the task has no labels."""
        if not self.table.count(of_task(task)):
            raise UnknownTask(task, sorted(self.tasks()))

    def get(self, task: str, *, version: int | None = None, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Return all rows of a task: id, labels list<string>, split, source, at (UTC), group or null.

        Args:
            columns: those of these columns to read.

        Raises UnknownTask.
        """
        rows = self.table.read(columns, where=of_task(task), version=version)
        if not rows.num_rows:
            raise UnknownTask(task, sorted(self.tasks(version=version)))
        return rows

    def ids(self, task: str, *, label: str | None = None, split: str | None = None) -> Column:
        """Return the ids of a task's rows, all or those with this label and in this split. Raises UnknownTask."""
        found = self.table.read(["id"], where=_matching(task, label, split))["id"]
        if not len(found):
            self.require_task(task)
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
        for batch in self.table.scan(["labels", "split"], where=of_task(task)):
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


def of_task(task: str) -> str:
    """Return the condition for the rows of a task."""
    return f"task = {quoted(task)}"


def _matching(task: str, label: str | None, split: str | None) -> str:
    """Return the SQL filter for the rows of a task with this label and in this split; None for any. Raises BadSplit."""
    where = of_task(task)
    where += f" AND array_has(labels, {quoted(label)})" if label is not None else ""
    return where + (f" AND split = {quoted(check_split(split))}" if split is not None else "")
