"""What readers see of a store."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from store import Store, asset_id

from ..door import State, Vector, Violation

_PASSING = {"at", "added_at", "tries"}
"""Columns that depend on when, and how often, an operation was run."""
_LEFT_OUT = {"label_history"}
"""Tables whose rows are about times: a change that is run again is one more change. `tests/store/test_label_history.py`
kills changes of labels too, and compares with a model."""
_KEYS = {"labels": ("task", "id"), "quarantine": ("stage", "key")}


def of_store(store: Store) -> State:
    """Return every row of every table that is compared.

    Raises Violation for a row that is there twice, and for a changed content.
    """
    found: dict[str, Any] = {}
    for name in set(store.database.names()) - _LEFT_OUT:
        handle = store.database.open(name)  # None: killed while it made the table
        rows = [] if handle is None else handle.search().limit(None).to_arrow().to_pylist()
        for row in rows:
            key = "/".join([name, *(str(row.pop(column)) for column in _KEYS.get(name, ("id",)))])
            if key in found:
                raise Violation(f"{key} is there twice")
            found[key] = dict(_values(key, row))
    if orphans := {key.split("/")[2] for key in found if key.startswith("labels/")} - _assets(found):
        raise Violation(f"labels without an asset: {sorted(orphans)[:3]}")
    return found


def _assets(found: State) -> set[str]:
    return {key.split("/")[1] for key in found if key.startswith("assets/")}


def _values(key: str, row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if name == "content" and value is not None and asset_id(value) != key.split("/")[1]:
            raise Violation(f"{key} has other bytes")
        if name == "content":
            yield name, None if value is None else hashlib.sha256(value).hexdigest()
        elif name in ("vector", "tokens"):
            yield name, Vector(np.array(value, np.float32))
        elif name not in _PASSING:
            yield name, value
