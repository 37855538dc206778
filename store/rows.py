"""Pure functions on Arrow tables and columns: unique keys, row order, conversion to NumPy, SQL literals."""

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Column = Any
"""An Arrow array or chunked array. `Any`, because the published stubs hardly type a compute function for both."""

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)
"""Rows in one chunk or in several."""


def local_path(uri: str) -> Path | None:
    """Return the absolute path of `uri`, or None if it is not on a local disk (s3://, memory://, …)."""
    if "://" not in uri:
        return Path(os.path.expanduser(uri)).absolute()  # Path.expanduser raises for unknown users
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def encodable(text: str) -> str:
    r"""Return `text` with each character that UTF-8 cannot hold as ``\uNNNN``: the name of a file may be any bytes."""
    return text.encode(errors="backslashreplace").decode()


def quoted(value: str) -> str:
    """Return `value` as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def instant(time: datetime) -> str:
    """Return a time as an SQL literal."""
    return f"timestamp '{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}+00:00'"


def among(name: str, values: Iterable[str]) -> str:
    """Return the SQL condition that the text column `name` has one of `values`."""
    return f"{name} IN ({', '.join(map(quoted, values))})"


def strings(column: Column) -> list[str]:
    """Return a string column without nulls as a list."""
    values: list[str] = column.to_pylist()
    return values


def unique(rows: pa.Table, key: Sequence[str], *, keep_last: bool) -> pa.Table:
    """Return `rows` with one row for each key: the last one if `keep_last`, otherwise the first."""
    keys = list(zip(*(rows[name].to_pylist() for name in key), strict=True))
    if len(set(keys)) == len(keys):
        return rows
    order = range(len(keys)) if keep_last else range(len(keys) - 1, -1, -1)
    return rows.take(sorted({keys[i]: i for i in order}.values()))


def chosen(rows: pa.Table, mask: Column) -> pa.Table:
    """Return the rows for which `mask` is true, not false or null; `rows` itself, without a copy, if it is for all."""
    every = pc.all(mask, skip_nulls=False, min_count=0).as_py()
    return rows if every else rows.filter(mask)


def in_order(rows: pa.Table, ids: Sequence[str]) -> pa.Table:
    """Return the rows of `ids` in the order of `ids`. Ids without a row are left out."""
    where = pc.index_in(pa.array(ids, pa.string()), value_set=rows["id"].combine_chunks())
    return rows.take(where.drop_null())


def with_columns(rows: Rows, schema: pa.Schema, names: Sequence[str]) -> Rows:
    """Return these columns of `rows`; a column of `schema` that the rows lack is null."""
    if list(names) == rows.schema.names:
        return rows
    own = rows.schema.names
    fields = [(rows.schema if name in own else schema).field(name) for name in names]
    columns = [rows[each.name] if each.name in own else pa.nulls(rows.num_rows, each.type) for each in fields]
    return type(rows).from_arrays(columns, schema=pa.schema(fields))


def fixed_size(vectors: NDArray[Any], type_: Any) -> Column:
    """Return `vectors` (n, ...) as a fixed_size_list array of n rows and Arrow type `type_`.

    A contiguous array of that dtype is not copied.
    """
    flat = np.ascontiguousarray(vectors, type_.value_type.to_pandas_dtype()).reshape(-1)
    values: Any = pa.array(flat)
    return pa.FixedSizeListArray.from_arrays(values, type=type_)


def matrix_view(column: Column) -> NDArray[Any]:
    """Return a fixed_size_list column of n rows as an array (n, size) of its own dtype.

    The array of a single chunk is a view of Arrow's memory.
    """
    array: Column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    size = array.type.list_size
    flat = array.values.slice(array.offset * size, len(array) * size)
    view: NDArray[Any] = flat.to_numpy(zero_copy_only=True).reshape(-1, size)
    return view
