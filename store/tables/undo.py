"""Undo: takes the last change of labels back, by the history of labels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import NothingToUndo
from store.lance.table import FEW
from store.rows import Column, among, instant, quoted, strings
from store.schema import LABELS, now
from store.tables.label_history import LabelHistory
from store.tables.labels import Labels

UNDO = "undo"
"""Source of the changes that this module makes."""

_CHUNK = 65536
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Undone:
    """The change that was taken back.

    Attributes:
        at: time of the change.
        tasks: tasks whose labels it had changed.
        sources: up to five sources of its labels.
        restored: number of assets and tasks whose former labels are back.
        removed: number of assets and tasks that have no labels again, as before the change.
    """

    at: datetime
    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    restored: int
    removed: int


def undo(labels: Labels, task: str | None = None, *, at: datetime | None = None) -> Undone:
    """Take the last change of labels back: former labels return as they were, and new ones go.

    Undo again to take back the change before it. If the process is killed, undo again to finish.

    Args:
        task: take back the last change of this task, and only what it changed there; None for all tasks.
        at: time that the last change must have; None for any.

    Raises NothingToUndo if there is no change, or the last one has another time than `at`.
    """
    with labels.turn():
        last, wanted = _last_change(labels, task), at
        if last is None or wanted not in (None, last):
            raise NothingToUndo(task, last)
        at = last
        made = _read(labels, _where(f"at = {instant(at)}", task))
        former = {(row["id"], row["task"]): row for row in labels.history.ended_at(at, task)}
        present = _present(labels, former.keys() - {(row["id"], row["task"]) for row in made})
        back = [row for key, row in former.items() if key not in present]
        new = [row for row in made if (row["id"], row["task"]) not in former]
        # In this order a kill leaves a store in which this change is still the last one, and is taken back again.
        until = now()
        for some in _chunks(made):
            labels.history.keep(({**row, "until": until, "by": UNDO} for row in some), undone=True)
        for each, ids in _by_task(new):
            labels.table.delete(f"task = {quoted(each)} AND at = {instant(at)} AND {among('id', ids)}")
        for some in _chunks(back):
            labels.table.upsert(pa.Table.from_pylist([{n: row[n] for n in LABELS.names} for row in some], LABELS))
    touched = [*made, *back]
    return Undone(
        at,
        tuple(sorted({row["task"] for row in touched})),
        tuple(sorted({row["source"] for row in made} or {row["by"] for row in back})[:5]),
        len(back),
        len(new),
    )


def _last_change(labels: Labels, task: str | None) -> datetime | None:
    """Return the time of the last change that is still in effect; None if there is none."""
    where = None if task is None else f"task = {quoted(task)}"
    current = labels.table.read(["id", "task", "at"], where=where)
    last: datetime | None = pc.max(current["at"]).as_py()
    removed = _last_removal(labels.history, current, where)
    return max(filter(None, (last, removed)), default=None)


def _last_removal(history: LabelHistory, current: pa.Table, where: str | None) -> datetime | None:
    """Return the time of the last change that removed labels which are still removed."""
    past = history.table.read(["id", "task", "at", "until", "undone"], where=where)
    if not past.num_rows:
        return None
    present: Column = pc.is_in(_keys(past), value_set=_keys(current))
    removed: Column = pc.invert(present)
    past = past.filter(removed)
    newest: datetime | None = None
    bounds: dict[_Key, datetime] = {}
    for row in past.sort_by([("until", "descending")]).to_pylist():
        key = row["id"], row["task"]
        if row["until"] >= bounds.get(key, _FOREVER):
            continue
        if row["undone"]:  # the labels were removed because they were new at `at`: what came before counts
            bounds[key] = row["at"]
        else:
            newest = max(newest or row["until"], row["until"])
            bounds[key] = _NEVER
    return newest


_FOREVER, _NEVER = datetime.max.replace(tzinfo=now().tzinfo), datetime.min.replace(tzinfo=now().tzinfo)


def _keys(rows: pa.Table) -> Column:
    """Return id and task of each row as one text."""
    columns: list[Column] = [rows["id"].combine_chunks(), rows["task"].combine_chunks()]
    return pc.binary_join_element_wise(*columns, pa.scalar("\0"))


def _where(condition: str, task: str | None) -> str:
    return condition if task is None else f"{condition} AND task = {quoted(task)}"


def _read(labels: Labels, where: str) -> list[dict[str, Any]]:
    return labels.table.read(LABELS.names, where=where).to_pylist()


def _present(labels: Labels, keys: Iterable[_Key]) -> set[_Key]:
    """Return those of `keys` that have labels now."""
    rows = [{"id": id_, "task": task} for id_, task in keys]
    found: set[_Key] = set()
    for task, ids in _by_task(rows):
        stored = labels.table.read(["id"], where=f"task = {quoted(task)} AND {among('id', ids)}")
        found |= {(id_, task) for id_ in strings(stored["id"])}
    return found


def _by_task(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the ids of each task, a few thousand at a time."""
    for task in sorted({row["task"] for row in rows}):
        ids = [row["id"] for row in rows if row["task"] == task]
        for start in range(0, len(ids), 10 * FEW):
            yield task, ids[start : start + 10 * FEW]


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    waiting = iter(rows)
    while some := list(islice(waiting, _CHUNK)):
        yield some
