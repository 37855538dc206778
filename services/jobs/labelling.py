"""Labels for assets that are stored already, from a table: CSV, JSON lines or Parquet. All is checked, then written."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store import Label, Store
from store.errors import AmbiguousId, BadLabels, BadSource, BadSplit, UnknownId
from store.rows import strings
from store.schema import check_split, now
from store.sources import open_parquet

ASSET = ("id", "asset", "path", "uri", "file", "file_name", "filename", "image")
"""Names of the column that names the asset, in order of preference."""

LABEL, SPLIT = ("labels", "label", "class"), ("split",)
SEPARATOR = "|"
"""Separates several labels in one cell."""

MOST_LABEL = 1000
"""Largest number of characters of a label, as published heads allow."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Relabelled:
    """The result: which columns were read, and the number of rows.

    Attributes:
        changed: rows that were new or changed.
    """

    columns: dict[str, str]
    rows: int
    changed: int


def import_labels(store: Store, file: Path, task: str) -> Relabelled:
    """Label stored assets by a table. It is one change, which undo takes back.

    The file is read twice: first every row is checked, and only then is anything written. Two rows of one asset must
    have the same labels.

    Raises BadSource with the number of the row for a file, a column or a row that cannot be used; FrozenSplit.
    """
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise BadSource(f"{file} is none of {', '.join(_READERS)}; save the table in one of these formats")
    columns = _columns(file, next(iter(read(file)), None))
    names = _Names(store)
    given: dict[str, tuple[int, Label]] = {}
    for number, row in enumerate(read(file), start=1):
        label = _label(f"{file}, row {number}", row, columns, names)
        first, other = given.setdefault(label.id, (number, label))
        if (list(other.labels), other.split) != (list(label.labels), label.split):
            raise BadSource(
                f"{file}: rows {first} and {number} give asset {label.id} different labels: "
                f"{SEPARATOR.join(other.labels)!r} and {SEPARATOR.join(label.labels)!r}; leave one of them"
            )
    rows = [label for _, label in given.values()]
    store.labels.require(task, rows)
    return Relabelled(columns, number, store.labels.put(task, rows, at=now()))


class _Names:
    """Stored assets by id, by uri, and by the last parts of it, read once."""

    def __init__(self, store: Store) -> None:
        rows = store.assets.table.read(["id", "uri"])
        self._uris = dict(zip(strings(rows["id"]), strings(rows["uri"]), strict=True))
        self._ids: dict[str, list[str]] = {}
        for id_, uri in self._uris.items():
            self._ids.setdefault(uri.rpartition("/")[2], []).append(id_)

    def id(self, name: str) -> str:
        """Return the id of an asset. Raises UnknownId, AmbiguousId."""
        if name in self._uris:
            return name
        alike = self._ids.get(name.rpartition("/")[2], [])
        path = str(Path(name).expanduser().absolute())
        found = [id_ for id_ in alike if self._uris[id_] in (name, path)]
        found = found or [id_ for id_ in alike if f"/{self._uris[id_]}".endswith(f"/{name}")]
        if len(found) > 1:
            raise AmbiguousId(name, found)
        if not found:
            raise UnknownId([name])
        return found[0]


def _columns(file: Path, first: Row | None) -> dict[str, str]:
    """Return the name of the column for each of asset, label and split. Raises BadSource."""
    if first is None:
        raise BadSource(f"{file} has no rows")
    found = {}
    for what, names in (("asset", ASSET), ("label", LABEL), ("split", SPLIT)):
        name = next((name for name in names if name in first), None)
        if name is not None:
            found[what] = name
        elif what != "split":
            raise BadSource(
                f"{file} has no column for the {what} of a row: name one of its columns ({', '.join(map(str, first))}) "
                f"{' or '.join(names)}"
            )
    return found


def _label(where: str, row: Row, columns: Mapping[str, str], names: _Names) -> Label:
    """Return one row as a label. Raises BadSource with `where`."""
    try:
        id_ = names.id(str(row.get(columns["asset"]) or ""))
        labels = _labels(row.get(columns["label"]))
        split = row.get(columns.get("split", "")) or None
        return Label(id_, labels, None if split is None else check_split(str(split)), "import")
    except (UnknownId, AmbiguousId, BadLabels, BadSplit) as error:
        raise BadSource(f"{where}: {error}") from error


def _labels(cell: object) -> list[str]:
    """Return the labels of a cell: a list, or text with `SEPARATOR` between labels; none for an empty list."""
    if cell is None:
        raise BadLabels("there is no label; write [] in JSON or Parquet for an asset that has none of the labels")
    labels = [str(each) for each in (cell if isinstance(cell, list) else str(cell).split(SEPARATOR))]
    return [check_label(label) for label in labels]


def check_label(label: str) -> str:
    """Return a label without the spaces around it. Raises BadLabels if it is empty or too long."""
    label = label.strip()
    if not label:
        raise BadLabels("a label is empty")
    if len(label) > MOST_LABEL:
        raise BadLabels(f"a label has {len(label):,} characters, more than the limit of {MOST_LABEL:,}")
    return label


def _csv(file: Path) -> Iterator[Row]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines, strict=True):
                if None in row or None in row.values():
                    raise BadSource(f"{file}: a row has another number of cells than the head: {row}")
                yield row
    except UnicodeDecodeError as error:
        raise BadSource(f"{file} is not UTF-8; save it as UTF-8") from error
    except csv.Error as error:
        raise BadSource(f"{file} is no CSV: {error}") from error


def _jsonl(file: Path) -> Iterator[Row]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line) if line.strip() else None
                if row is None:
                    continue
                if not isinstance(row, dict):
                    raise BadSource(f"{file}, line {number} is no JSON object")
                yield row
    except UnicodeDecodeError as error:
        raise BadSource(f"{file} is not UTF-8; save it as UTF-8") from error
    except ValueError as error:
        raise BadSource(f"{file} has a line that is no JSON: {error}") from error


def _parquet(file: Path) -> Iterator[Row]:
    with open_parquet(file) as table:
        names = [name for name in table.schema_arrow.names if name in (*ASSET, *LABEL, *SPLIT)]
        for batch in table.iter_batches(columns=names or None):
            yield from batch.to_pylist()


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
