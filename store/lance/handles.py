"""Functions that read and write through LanceDB's own table handles, for `store.lance.table`."""

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import WrongSchema
from store.lance.faults import contended
from store.rows import Column, in_order, quoted

T = TypeVar("T")

_ATTEMPTS = 30

FIRST_ROWS = 8
"""Number of rows in the first read, which shows how large rows are."""

WORTH = 500
"""Number of ids that one pass reads in the time of one index lookup: 0.15 ms in a table of a million rows."""

SMALL_FRAGMENTS = 8
"""A table is compacted from this many small fragments on.

Lance would join ten new rows with the million before them and write all of them again.
"""

KEEP = timedelta(days=7)
"""Default age up to which old versions are kept, so that a snapshot can be read for at least that time."""


def require_schema(handle: Any, schema: pa.Schema, later: Sequence[str], table: str) -> None:
    """Raise WrongSchema if the table's columns are not those of `schema`. `table` names it in the message.

    Args:
        later: columns that the table may lack.
    """
    want, have = ({field.name: field.type for field in each} for each in (schema, handle.schema))
    if {name: type_ for name, type_ in want.items() if name in have or name not in later} != have:
        raise WrongSchema(
            f"{table} has the columns {_columns(have)}, not {_columns(want)}, so Headwater did not create it: open "
            "another folder, or move that table away"
        )


def _columns(types: dict[str, pa.DataType]) -> str:
    return ", ".join(f"{name}: {type_}" for name, type_ in types.items())


def query(handle: Any, columns: Sequence[str], where: str | None) -> Any:
    """Return LanceDB's query for `columns` of all rows that satisfy the SQL filter `where`."""
    query = handle.search().select(list(columns)).limit(None)
    return query if where is None else query.where(where)


def has_index(handle: Any, column: str) -> bool:
    """Return True if the table has an index on `column`."""
    return any(index.columns == [column] for index in handle.list_indices())


def locate(handle: Any, ids: Sequence[str]) -> Column | None:
    """Return LanceDB's row id of each of `ids`, null for a missing id, from one pass over the table's ids.

    Returns None if looking the ids up in the index is cheaper than that pass.
    """
    if handle.count_rows() > WORTH * len(ids) and has_index(handle, "id"):
        return None
    rows = handle.search().select(["id"]).with_row_id(True).limit(None).to_arrow()
    asked = pa.array(ids, pa.string())
    rows = rows.filter(pc.is_in(rows["id"], value_set=asked))  # a hash table of all ids would take much longer
    return rows["_rowid"].take(pc.index_in(asked, value_set=rows["id"].combine_chunks()))


def batches_of(
    handle: Any,
    ids: Sequence[str],
    columns: Sequence[str],
    located: Column | None,
    rows: int,
    most_bytes: int | None,
) -> Iterator[pa.Table]:
    """Yield the rows of `ids` in their order: at most `rows` ids a table, and fewer if it would exceed `most_bytes`.

    Args:
        located: result of `locate` for `ids`.
    """
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
    """Return the rows of `ids` in any order, each once."""
    found: pa.Table
    if located is None:
        found = query(handle, columns, f"id IN ({', '.join(map(quoted, ids))})").to_arrow()
    elif wanted := sorted(set(located.drop_null().to_pylist())):
        found = handle.take_row_ids(wanted).select(list(columns)).to_arrow()
    else:
        found = handle.schema.empty_table().select(columns)
    return found


def persist(operation: Callable[[], T]) -> T:
    """Run a write, and repeat it while it conflicts with another process. Every write of this package is repeatable.

    LanceDB repeats a write a few times itself, which is too few if there are many writers. Raises the last error after
    30 attempts.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return operation()
        except (RuntimeError, OSError, ValueError) as error:
            if attempt == _ATTEMPTS - 1 or not contended(error):
                raise
        time.sleep(random.uniform(0, 0.05 * min(attempt + 1, 20)))  # noqa: S311  # jitter, not a secret
    raise AssertionError("unreachable")


def compact(handle: Any, keep: timedelta | None) -> None:
    """Join small fragments, refresh the indices, and remove versions older than `keep`.

    With `keep` None, this happens only from `SMALL_FRAGMENTS` small fragments on, and the age is `KEEP`.
    """
    if keep is not None or handle.stats()["fragment_stats"]["num_small_fragments"] >= SMALL_FRAGMENTS:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"optimize\(cleanup_older_than=0\)", UserWarning)  # as asked
            persist(lambda: handle.optimize(cleanup_older_than=KEEP if keep is None else keep))
