"""The rules of rows of labels: which may be stored, and which row is written for a given one."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from store.errors import BadLabels, FrozenSplit
from store.label_values import composed
from store.schema import Label, check_split, split_of


def check_task(task: str) -> None:
    """Raise BadLabels for a name that no task can have."""
    if not task:
        raise BadLabels("the name of a task must not be empty")
    _check_text(task)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadLabels(f"{text[:200]!r} has half a surrogate pair, which is no character") from None


def check(row: Label) -> None:
    """Raise BadLabels or BadSplit for a row that no task can have."""
    if isinstance(row.labels, str) or not all(isinstance(label, str) and label.strip() for label in row.labels):
        raise BadLabels(f"labels of {row.id} must be a list of non-empty strings, not {row.labels!r}")
    _check_text(f"{row.id}{row.source}{row.group or ''}{''.join(row.labels)}")
    if row.split is not None:
        check_split(row.split)


def require_same_splits(task: str, rows: dict[str, Label], stored: dict[str, dict[str, Any]]) -> None:
    """Raise FrozenSplit if one of `rows` has another split than its row in `stored`."""
    moves = [
        (id_, stored[id_]["split"], row.split)
        for id_, row in rows.items()
        if row.split is not None and id_ in stored and stored[id_]["split"] != row.split
    ]
    if moves:
        raise FrozenSplit(task, moves)


def filled(
    task: str,
    stored: dict[str, dict[str, Any]],
    before: Mapping[str, Mapping[str, str | None]],
    of_groups: Mapping[str, str],
    at: datetime,
) -> Callable[[Label], dict[str, Any] | None]:
    """Return a function that turns a Label into the row to write, with its split; None if that row is stored.

    Labels are written in Unicode's composed form (NFC), and equal ones once.

    Args:
        before: split and group of assets whose labels were removed.
        of_groups: split of each group.
    """

    def fill(row: Label) -> dict[str, Any] | None:
        old = stored.get(row.id)
        last = old or before.get(row.id, {})
        group = (last.get("group") if row.group is None else row.group) or None
        new = {
            "id": row.id,
            "labels": list(dict.fromkeys(map(composed, row.labels))),
            "split": row.split or last.get("split") or of_groups.get(group or "") or split_of(row.id),
            "source": row.source,
            "group": group,
        }
        return None if old and new == {name: old[name] for name in new} else new | {"task": task, "at": at}

    return fill
