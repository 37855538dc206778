"""Predictions as Arrow tables, and the files that they are written to: Parquet, CSV, JSON lines."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.published.many import Answers
from store.rows import Column

_CLASS = pa.dictionary(pa.int32(), pa.string())
_TEXTS = pa.list_(pa.string())


def schema_of(head: PublishedHead) -> pa.Schema:
    """Return the columns of a head's predictions. Heads with any number of labels a row have `labels` too."""
    several = head.head.link == "sigmoid"
    fields = [
        pa.field("id", pa.string()),
        pa.field("path", pa.string()),
        pa.field("truth", _TEXTS if several else pa.string()),
        pa.field("label", _CLASS),
        *([pa.field("labels", pa.list_(_CLASS))] if several else []),
        pa.field("probability", pa.float32()),
        pa.field("top_k", pa.list_(_CLASS)),
        pa.field("top_k_probability", pa.list_(pa.float32())),
        pa.field("set", pa.list_(_CLASS)),
        pa.field("outlier", pa.float32()),
    ]
    return pa.schema(fields)


def batch_of(
    schema: pa.Schema, classes: Column, found: Answers, ids: Column, paths: Column, truths: Column
) -> pa.RecordBatch:
    """Return the predictions of n rows.

    Args:
        classes: names of the head's classes, a string array.
        truths: labels of each row, list<string> (n,), null where they are unknown.
    """
    n, k = found.top.shape
    bad = ~found.finite
    each = {
        "id": ids,
        "path": paths,
        "truth": truths if schema.field("truth").type == _TEXTS else _only(truths),
        "label": _named(found.top[:, 0], classes, bad),
        "labels": _lists(found.given, found.given_ends, classes),
        "probability": pa.array(np.ascontiguousarray(found.probabilities[:, 0]), mask=bad),
        "top_k": _lists(found.top.reshape(-1), np.arange(1, n + 1) * k, classes),
        "top_k_probability": pa.ListArray.from_arrays(
            _offsets(np.arange(1, n + 1) * k), pa.array(found.probabilities.reshape(-1))
        ),
        "set": _lists(found.members, found.ends, classes),
        "outlier": pa.nulls(n, pa.float32())
        if found.percentiles is None
        else pa.array(found.percentiles.astype(np.float32), mask=bad),
    }
    return pa.RecordBatch.from_arrays([each[name] for name in schema.names], schema=schema)


def _named(codes: NDArray[np.int32], classes: Column, bad: NDArray[np.bool_]) -> Column:
    numbers: Any = pa.array(np.ascontiguousarray(codes), mask=bad)
    return pa.DictionaryArray.from_arrays(numbers, classes)


def _lists(codes: NDArray[np.int32] | None, ends: NDArray[np.int64], classes: Column) -> Column:
    if codes is None:  # with the same dictionary as other batches, because an Arrow file has one for each column
        none = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), classes)
        return pa.ListArray.from_arrays(_offsets(0 * ends), none, mask=pa.array(np.ones(len(ends), np.bool_)))
    numbers: Any = pa.array(codes)
    return pa.ListArray.from_arrays(_offsets(ends), pa.DictionaryArray.from_arrays(numbers, classes))


def _offsets(ends: NDArray[np.int64]) -> Column:
    return pa.array(np.concatenate([[0], ends]).astype(np.int32))


def _only(truths: Column) -> Column:
    """Return the first label of each row; null for rows without one."""
    some = pc.greater(pc.list_value_length(truths), pa.scalar(0, pa.int32()))
    one: Column = pc.if_else(some, truths, pa.scalar(None, truths.type))
    return pc.list_element(one, 0) if one.null_count < len(one) else pa.nulls(len(one), pa.string())


class Sink(ABC):
    """A file that predictions are appended to."""

    @abstractmethod
    def __init__(self, path: Path, schema: pa.Schema) -> None: ...

    @abstractmethod
    def write(self, rows: pa.Table) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Parquet(Sink):
    """Readers see classes as text: the Arrow schema is not stored, which would make them categories."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        classes = [each.name for each in schema if each.name in ("truth", "label")]
        nested = [f"{each.name}.list.element" for each in schema if each.name in ("labels", "top_k", "set")]
        columns: Any = [*classes, *nested]
        self._writer = pq.ParquetWriter(path, schema, store_schema=False, use_dictionary=columns)

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows)

    def close(self) -> None:
        self._writer.close()


class _Csv(Sink):
    """Values of lists are separated by ``|``."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        plain = pa.schema([pa.field(each.name, _plain(each.type)) for each in schema])
        self._writer = pa_csv.CSVWriter(path, plain)

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(pa.table([_joined(column) for column in rows.columns], names=rows.schema.names))

    def close(self) -> None:
        self._writer.close()


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind if pa.types.is_floating(kind) else pa.string()


def _joined(column: Column) -> Column:
    if pa.types.is_list(column.type):
        return pc.binary_join(pc.cast(column, _TEXTS), "|")
    return pc.cast(column, _plain(column.type))


class _JsonLines(Sink):
    def __init__(self, path: Path, schema: pa.Schema) -> None:  # noqa: ARG002 - the rows have the names
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def write(self, rows: pa.Table) -> None:
        for batch in rows.to_batches():
            self._file.writelines(json.dumps(_rounded(row), ensure_ascii=False) + "\n" for row in batch.to_pylist())

    def close(self) -> None:
        self._file.close()


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose float32 numbers have no more digits than they mean."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(each) for each in value]
        return float(f"{value:.7g}") if isinstance(value, float) else value

    return {name: short(value) for name, value in row.items()}


SINKS: dict[str, type[Sink]] = {".parquet": _Parquet, ".csv": _Csv, ".jsonl": _JsonLines}
"""The sink of each ending of a file's name."""


def without_folders(paths: Column) -> Column:
    """Return the paths (n,) with ``…/`` in place of the folders of this machine. Other addresses are unchanged."""
    found: Column = pc.replace_substring_regex(paths, r"^(file://)?/.*/", "…/")
    return found


def classes_of(head: PublishedHead) -> Column:
    return pa.array(list(head.head.classes), pa.string())


def ending(path: Path) -> str | None:
    """Return the ending of a file of predictions; None if there is no sink for it."""
    return path.suffix.lower() if path.suffix.lower() in SINKS else None
