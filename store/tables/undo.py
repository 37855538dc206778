"""Undo: takes the last change of labels back, by the history of labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import NothingToUndo
from store.rows import Column, instant, quoted, strings
from store.schema import LABELS, now
from store.tables.label_history import LabelHistory
from store.tables.labels import Labels

UNDO = "undo"
"""Source of the changes that this module makes."""

_CHUNK = 65536


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
        current = labels.table.read(["id", "task", "at"], where=_of(task))
        last = _last_change(labels.history, current, task)
        if last is None or at not in (None, last):
            raise NothingToUndo(task, last)
        made_at = _where(f"at = {instant(last)}", task)
        made = labels.table.read(LABELS.names, where=made_at)
        former = labels.history.ended_at(last, task)
        kept = _without(_with_ids(current, former), made)  # also labels that a killed change was about to replace
        back = _without(former, kept)
        until = now()
        # In this order a kill leaves a store in which this change is still the last one, and is taken back again.
        for some in _chunks(made):
            labels.history.keep(some, until=until, by=UNDO, undone=True)
        for some in _chunks(back.select(LABELS.names)):
            labels.table.upsert(some)
        labels.table.delete(made_at)  # what is left of the change are labels that were new
    return Undone(
        last,
        tuple(sorted({*strings(pc.unique(made["task"])), *strings(pc.unique(back["task"]))})),
        tuple(sorted(strings(pc.unique(made["source"] if made.num_rows else back["by"])))[:5]),
        back.num_rows,
        _without(made, former).num_rows,
    )


def _last_change(history: LabelHistory, current: pa.Table, task: str | None) -> datetime | None:
    """Return the time of the last change that is still in effect; None if there is none."""
    last: datetime | None = pc.max(current["at"]).as_py()
    removed = _last_removal(history, current, _of(task))
    return max(filter(None, (last, removed)), default=None)


def _last_removal(history: LabelHistory, current: pa.Table, where: str | None) -> datetime | None:
    """Return the time of the last change that removed labels which are still removed."""
    past = history.table.read(["id", "task", "at", "until", "undone"], where=where)
    if not past.num_rows:
        return None
    past = _without(past, current)
    newest: datetime | None = None
    bounds: dict[tuple[str, str], datetime] = {}
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


def _without(rows: pa.Table, others: pa.Table) -> pa.Table:
    """Return those of `rows` whose asset and task none of `others` has."""
    known: Column = pc.is_in(_keys(rows), value_set=_keys(_with_ids(others, rows)))
    other: Column = pc.invert(known)
    return rows.filter(other)


def _with_ids(rows: pa.Table, others: pa.Table) -> pa.Table:
    """Return those of `rows` whose asset any of `others` has: texts are joined for few rows only."""
    known: Column = pc.is_in(rows["id"], value_set=others["id"].combine_chunks())
    return rows.filter(known)


def _keys(rows: pa.Table) -> Column:
    """Return id and task of each row as one text."""
    columns: list[Column] = [rows["id"].combine_chunks(), rows["task"].combine_chunks()]
    return pc.binary_join_element_wise(*columns, pa.scalar("\0"))


def _of(task: str | None) -> str | None:
    return None if task is None else f"task = {quoted(task)}"


def _where(condition: str, task: str | None) -> str:
    return condition if task is None else f"{condition} AND {_of(task)}"


def _chunks(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, _CHUNK):
        yield rows.slice(start, _CHUNK)
