"""Tables of labels: CSV, JSON, JSON lines, Parquet. Columns are named by the caller, or guessed."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from services.jobs.annotations.errors import BadAnnotations, NoColumn
from services.jobs.annotations.json_stream import pieces
from services.jobs.annotations.rows import Annotation, key_of, labels_of, split_of
from services.jobs.annotations.text import open_text
from store.label_values import group_of
from store.sources import class_names, open_parquet

KNOWN = {
    "path": "file_name filename file_path filepath file image_path image_file image_name path image img photo audio "
    "video name uri url image_id id asset",
    "label": "label labels class class_name classname category categories tag tags target species choice",
    "split": "split subset partition",
    "id": "asset_id sha256",
}
"""Names of columns for each role, in order of preference. Case does not count."""

NONE = "none"
"""Given as the split column, no column is read as the split."""

MAX_LINE = 1 << 24
"""Longest line of JSON lines, in characters. A longer one is another kind of file."""

_BATCH = 4096
_DELIMITERS = ",;\t"

Record = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a table's columns by role; None for one to be guessed, and for no groups."""

    path: str | None = None
    label: str | None = None
    split: str | None = None
    id: str | None = None
    group: str | None = None


class Table(NamedTuple):
    """An open table: its columns, its rows with the place of each, and the names that numeric labels stand for."""

    columns: list[str]
    records: Iterable[tuple[str, Record]]
    names: Sequence[str] = ()


class TableReader:
    """Reads the rows of a table as annotations. `columns` are those that were named."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._open = FORMATS[path.suffix.lower()]
        with self._open(path) as table:
            self.columns = resolve(str(path), table.columns, columns)

    @property
    def understood(self) -> str:
        """The columns that are read, as a user reads it."""
        chosen = {"path": self.columns.path, "id": self.columns.id, "label": self.columns.label}
        chosen |= {"split": self.columns.split, "group": self.columns.group}
        return ", ".join(f"{role} column {name}" for role, name in chosen.items() if name)

    def __iter__(self) -> Iterator[Annotation]:
        at = self.columns
        with self._open(self.path) as table:
            for place, record in table.records:
                where = f"{self.path}, {place}"
                key = (at.id and key_of(record.get(at.id))) or (at.path and key_of(record.get(at.path))) or ""
                labels, faults = labels_of(record.get(at.label or ""), where, table.names)
                split = split_of(record.get(at.split), where) if at.split else None
                yield Annotation(place, key, labels, split, faults, group_of(record.get(at.group or "")))


def resolve(path: str, present: Sequence[str], named: Columns) -> Columns:
    """Return the columns to read. Raises NoColumn for a named one that is absent, and if no file or label is known."""
    if not present:
        raise BadAnnotations(f"{path} is empty")
    lower = {name.strip().lower(): name for name in reversed(present)}

    def find(role: str, wanted: str | None) -> str | None:
        if wanted is None:
            return next((lower[name] for name in KNOWN[role].split() if name in lower), None)
        if wanted in present:
            return wanted
        raise NoColumn(path, role, present, wanted)

    id_ = find("id", named.id)
    key = find("path", named.path) if named.path or not named.id else None
    if key is None and id_ is None:
        raise NoColumn(path, "path", present)
    split = None if named.split == NONE else find("split", named.split)
    group = find("group", named.group) if named.group else None
    label = find("label", named.label)
    others = [name for name in present if name not in (key, id_, split, group)]
    if label is None and len(others) == 1:
        label = others[0]
    if label is None:
        raise NoColumn(path, "label", present)
    return Columns(key, label, split, id_, group)


@contextmanager
def open_csv(path: Path) -> Iterator[Table]:
    """Open a table of text. The separator is the comma, the semicolon or the tab, whichever the first line has most."""
    with open_text(path) as text:
        first = text.readline(MAX_LINE)
        separator = max(_DELIMITERS, key=first.count)
        # The file is not sought back to its start: TextIOWrapper would have to decode it again.
        rows = csv.reader(chain(io.StringIO(first), text), delimiter=separator, strict=True)
        try:
            names = [name.strip() for name in next(rows, [])]
            if len(set(names)) < len(names):
                raise BadAnnotations(f"{path} has two columns of the same name; its columns are {', '.join(names)}")
            yield Table(names, _csv_rows(path, rows, names))
        except csv.Error as error:
            raise BadAnnotations(f"{path}, line {rows.line_num}: {error}; is a quotation mark missing?") from error


def _csv_rows(path: Path, rows: "Iterator[list[str]]", names: list[str]) -> Iterator[tuple[str, Record]]:
    for row in rows:
        if not any(row):
            continue
        place = f"line {rows.line_num}"  # type: ignore[attr-defined]
        if len(row) != len(names):
            raise BadAnnotations(
                f"{path}, {place} has {len(row)} fields, but the first line names {len(names)} columns; put fields "
                "that contain the separator into quotation marks"
            )
        yield place, dict(zip(names, row, strict=True))


@contextmanager
def open_jsonl(path: Path) -> Iterator[Table]:
    """Open a file with one JSON object in each line. Its columns are those of the first line."""
    with open_text(path) as text:
        records = _json_lines(path, text)
        first = next(records, None)
        if first is None:
            yield Table([], [])
        else:
            yield Table(list(first[1]), chain([first], records))


def _json_lines(path: Path, text: io.TextIOWrapper) -> Iterator[tuple[str, Record]]:
    for number, line in enumerate(iter(lambda: text.readline(MAX_LINE), ""), 1):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadAnnotations(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise BadAnnotations(f"{path}, line {number} is not a JSON object with a name for each value")
        yield f"line {number}", record


@contextmanager
def open_json(path: Path) -> Iterator[Table]:
    """Open a JSON array of objects as a table. Its columns are those of the first object."""
    with open_text(path) as text:
        first = next(pieces(text, path), None)
    columns = list(first[1]) if first and isinstance(first[1], Mapping) else []
    with open_text(path) as text:
        yield Table(columns, _json_rows(path, pieces(text, path)))


def _json_rows(path: Path, found: Iterator[tuple[str, object]]) -> Iterator[tuple[str, Record]]:
    for number, (_, record) in enumerate(found, 1):
        if not isinstance(record, Mapping):
            raise BadAnnotations(f"{path}: element {number} is not an object with a name for each value")
        yield f"element {number}", record


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """Open a Parquet file. Columns of bytes are not read."""
    with open_parquet(path) as file:
        schema = file.schema_arrow
        yield Table(schema.names, _parquet_rows(file), class_names(schema))


def _parquet_rows(file: pq.ParquetFile) -> Iterator[tuple[str, Record]]:
    number = 0
    for batch in file.iter_batches(_BATCH, columns=list(_light(file.schema_arrow))):
        batch.validate(full=True)
        for record in batch.to_pylist():
            number += 1
            yield f"row {number}", record


def _light(schema: pa.Schema) -> Iterator[str]:
    """Yield the columns without bytes. Of Hugging Face's struct of bytes and path, only the path is read."""
    for field in schema:
        if pa.types.is_struct(field.type):
            yield from (f"{field.name}.{each.name}" for each in field.type if not _is_binary(each.type))
        elif not _is_binary(field.type):
            yield field.name


def _is_binary(type_: pa.DataType) -> bool:
    return pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_)


FORMATS: dict[str, Callable[[Path], AbstractContextManager[Table]]] = {
    ".csv": open_csv,
    ".tsv": open_csv,
    ".txt": open_csv,
    ".jsonl": open_jsonl,
    ".ndjson": open_jsonl,
    ".json": open_json,
    ".parquet": open_table,
}
"""How the file of each ending is opened."""
