"""Reads and writes on LanceDB's own table handles; `store.lance.table` makes the handles and uses these."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import WrongSchema
from store.rows import Column, in_order, quoted

T = TypeVar("T")

_ATTEMPTS = 30

FIRST_ROWS = 8
"""Read first, to learn how large rows are."""

WORTH = 500
"""A pass over so many ids takes as long as looking one up in the index: 0.15 ms with a million rows."""


SMALL_FRAGMENTS = 8
"""Fewer are left as they are: Lance would join ten new rows with the million before them, and write all anew."""


KEEP = timedelta(days=7)
"""Old versions are kept so long when nothing else is said: a snapshot can be read for that time at least."""


def require_schema(handle: Any, schema: pa.Schema, table: str) -> None:
    """Refuse a table that has our name and other columns, before anything is read or written. Raises WrongSchema."""
    want, have = ({field.name: field.type for field in each} for each in (schema, handle.schema))
    if want != have:
        raise WrongSchema(
            f"{table} has the columns {_columns(have)}, not {_columns(want)}; Headwater did not make it: open another "
            "folder, or move that table away"
        )


def _columns(types: dict[str, pa.DataType]) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in types.items())


def query(handle: Any, columns: Sequence[str], where: str | None) -> Any:
    query = handle.search().select(list(columns)).limit(None)
    return query if where is None else query.where(where)


def locate(handle: Any, ids: Sequence[str]) -> Column | None:
    """The row id of each of `ids`, null for one that is absent, from one pass over all ids; None if none pays."""
    if handle.count_rows() > WORTH * len(ids) and handle.list_indices():
        return None
    rows = handle.search().select(["id"]).with_row_id(True).limit(None).to_arrow()
    return rows["_rowid"].take(pc.index_in(pa.array(ids, pa.string()), value_set=rows["id"]))


def batches_of(
    handle: Any,
    ids: Sequence[str],
    columns: Sequence[str],
    located: Column | None,
    rows: int,
    most_bytes: int | None,
) -> Iterator[pa.Table]:
    """The rows of `ids` in their order, of at most `rows` ids a table, and of fewer where rows are large."""
    start, step = 0, rows if most_bytes is None else min(rows, FIRST_ROWS)
    while start < len(ids):
        part = slice(start, start + step)
        stored = rows_of(handle, ids[part], columns, None if located is None else located[part])
        found = in_order(stored, ids[part])
        yield found
        start += step
        if most_bytes is not None:
            fitting = most_bytes * max(found.num_rows, 1) // max(found.nbytes, 1)
            step = max(1, min(rows, 2 * step, fitting))


def rows_of(handle: Any, ids: Sequence[str], columns: Sequence[str], located: Column | None) -> pa.Table:
    """The rows of `ids`, in any order, each once."""
    found: pa.Table
    if located is None:
        found = query(handle, columns, f"id IN ({', '.join(map(quoted, ids))})").to_arrow()
    elif wanted := sorted(set(located.drop_null().to_pylist())):
        found = handle.take_row_ids(wanted).select(list(columns)).to_arrow()
    else:
        found = handle.schema.empty_table().select(columns)
    return found


def persist(operation: Callable[[], T]) -> T:
    """Run a write again until no other process is in its way. Every write of this module may be repeated.

    LanceDB itself tries a few times; with many writers that is not enough.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return operation()
        except (RuntimeError, OSError, ValueError) as error:
            if attempt == _ATTEMPTS - 1 or not _contended(str(error)):
                raise
        time.sleep(random.uniform(0, 0.05 * min(attempt + 1, 20)))  # noqa: S311  # jitter, not a secret
    raise AssertionError("unreachable")


def compact(handle: Any, keep: timedelta | None) -> None:
    """Join small fragments, refresh the indices, drop versions older than `keep`; None: `KEEP`, and if it pays."""
    if keep is not None or handle.stats()["fragment_stats"]["num_small_fragments"] >= SMALL_FRAGMENTS:
        persist(lambda: handle.optimize(cleanup_older_than=KEEP if keep is None else keep))


def _contended(message: str) -> bool:
    text = message.lower()
    return any(word in text for word in ("conflict", "concurrent", "contention"))
