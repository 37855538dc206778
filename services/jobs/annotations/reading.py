"""Chooses the reader of a file of labels: by its ending, and JSON by how it begins."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Protocol

from services.jobs.annotations.errors import BadAnnotations
from services.jobs.annotations.exports import Coco, Cvat, LabelStudio
from services.jobs.annotations.json_stream import pieces
from services.jobs.annotations.rows import Annotation
from services.jobs.annotations.tables import FORMATS, Columns, TableReader
from services.jobs.annotations.text import open_text

KINDS = "a table (.csv, .tsv, .jsonl, .parquet, .json), COCO or Label Studio (.json), or CVAT (.xml)"


class Reader(Protocol):
    """Reads a file of labels as often as it is iterated over, and one row at a time."""

    path: Path

    @property
    def understood(self) -> str:
        """How the file is read, as a user reads it."""

    def __iter__(self) -> Iterator[Annotation]: ...


def open_labels(path: str | Path, columns: Columns | None = None) -> Reader:
    """Return the reader of a file of labels. Raises BadAnnotations, before any row, if its form is not known."""
    file = Path(path).expanduser().absolute()
    if not file.exists():
        raise BadAnnotations(f"{file} does not exist; give {KINDS}")
    form = _JSON_FORMS[_first(file)] if file.suffix.lower() == ".json" else _FORMS.get(file.suffix.lower())
    if form is None:
        raise BadAnnotations(f"{file} is no file of labels that can be read; give {KINDS}")
    return form(file, columns or Columns())


def _first(path: Path) -> str:
    """Return the form of a JSON file, judged by its first elements."""
    with open_text(path) as text:
        found = list(islice(pieces(text, path), 1))
    if not found:
        raise BadAnnotations(f"{path} is empty")
    key, element = found[0]
    if key:
        return "coco"
    return "tasks" if isinstance(element, Mapping) and "data" in element else "table"


Form = Callable[[Path, Columns], Reader]

_FORMS: dict[str, Form] = dict.fromkeys(FORMATS, TableReader) | {".xml": lambda path, _: Cvat(path)}
_JSON_FORMS: dict[str, Form] = {
    "coco": lambda path, _: Coco(path),
    "tasks": lambda path, _: LabelStudio(path),
    "table": TableReader,
}
