"""Lists of labels in files: the seen and unseen labels of a zero-shot experiment.

Papers publish them as text (NUS-WIDE's `Concepts81.txt` and `TagList1k.txt`, one label in each line), as tables, and
as ids (Open Images' `classes-trainable.txt`), whose names are in another table (`class-descriptions.csv`).
"""

import csv
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.jobs.annotations.class_names import ID, class_descriptions
from services.jobs.annotations.errors import BadAnnotations
from services.jobs.annotations.rows import MAX_LABEL
from services.jobs.annotations.text import open_text

HEADERS = ("label", "name", "class", "tag", "concept", "category", "displayname", "class_name", "labelname")
"""Names of the column of labels, in order of preference. Case does not count."""

TABLES = {".csv": ",", ".tsv": "\t"}
"""Separator of the cells for each ending of a table. Every other file has a label in each line."""


@dataclass(frozen=True, slots=True)
class LabelSplit:
    """The labels of a task that a head learns, and those that it is only tested on.

    Attributes:
        seen, unseen: labels of the task, in the order of the files. No label is in both.
        unknown: labels of the files that the task does not have. They are left out.
        unlisted: labels of the task that no file has. They are in neither list.
    """

    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()


def read_labels(path: str | Path, names: str | Path | None = None) -> list[str]:
    """Return the labels in a file, in its order: one in each line, or one column of a table (.csv, .tsv).

    A table has its labels in the column that `HEADERS` names, or in its only column, or it is a table of Open Images'
    class descriptions, with ids like ``/m/0199g`` and names.

    Args:
        names: Open Images' class descriptions, whose names replace ids in `path`; None if the file has no ids. An id
            without a name stays, as in a task that was ingested from Open Images.

    Raises BadAnnotations for a file that cannot be read, has no labels, or has one twice.
    """
    file = Path(path).expanduser().absolute()
    found = _cells(file) if file.suffix.lower() in TABLES else _lines(file)
    if names is not None:
        described = class_descriptions(Path(names).expanduser().absolute())
        found = [(place, described.get(label, label)) for place, label in found]
    return _checked(file, found)


def read_split(
    labels: Collection[str],
    seen: str | Path | None = None,
    unseen: str | Path | None = None,
    names: str | Path | None = None,
) -> LabelSplit:
    """Return the seen and unseen labels of a task, by one or two files. With one file, the other labels are the rest.

    A label of a file is the label of the task that is equal to it, or else the only one that is equal without regard
    to case and to `_` for spaces.

    Args:
        labels: labels of the task.
        seen, unseen: files that `read_labels` reads.
        names: Open Images' class descriptions, see `read_labels`.

    Raises BadAnnotations if no file is given, a label is in both, or one of the two lists would have no label.
    """
    if seen is None and unseen is None:
        raise BadAnnotations("no list of labels is given; give one of the seen labels, or one of the unseen labels")
    spelled = _Spelled(labels)
    given = {path: read_labels(path, names) for path in (seen, unseen) if path is not None}
    listed = {path: spelled.find_all(found) for path, found in given.items()}
    taken = {label for found in listed.values() for label in found}
    rest = [label for label in labels if label not in taken]
    parts = [rest if path is None else listed[path] for path in (seen, unseen)]
    if both := set(parts[0]) & set(parts[1]):
        raise BadAnnotations(
            f"{len(both)} labels are both seen and unseen, e.g. {min(both)!r}; take them from one list"
        )
    for part, path, sort in zip(parts, (seen, unseen), ("seen", "unseen"), strict=True):
        if not part:
            why = "the other file has them all" if path is None else f"{path} has none of them"
            raise BadAnnotations(f"no label of the task is {sort}: {why}. Its labels are, e.g., {', '.join(rest[:5])}")
    unknown = tuple(each for found in given.values() for each in found if spelled.find(each) is None)
    return LabelSplit(tuple(parts[0]), tuple(parts[1]), unknown, tuple(rest) if len(given) == 2 else ())


class _Spelled:
    """The labels of a task, to be found by their spelling in a file."""

    def __init__(self, labels: Iterable[str]) -> None:
        self._exact = {_composed(label): label for label in labels}
        self._plain: dict[str, set[str]] = {}
        for label in self._exact.values():
            self._plain.setdefault(_plain(label), set()).add(label)

    def find(self, text: str) -> str | None:
        """Return the label that equals `text`, or else the only one with the same plain spelling; None if none does."""
        alike = self._plain.get(_plain(text), set())
        return self._exact.get(text) or (next(iter(alike)) if len(alike) == 1 else None)

    def find_all(self, texts: Iterable[str]) -> list[str]:
        """Return the labels that `texts` mean, each once. Texts that mean none are left out."""
        return list(dict.fromkeys(label for text in texts if (label := self.find(text)) is not None))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _plain(text: str) -> str:
    """Return a label without regard to case, and with single spaces for `_`."""
    return " ".join(_composed(text).replace("_", " ").casefold().split())


def _lines(path: Path) -> list[tuple[str, str]]:
    with open_text(path) as text:
        return [(f"line {number}", line.strip()) for number, line in enumerate(text, 1) if line.strip()]


def _cells(path: Path) -> list[tuple[str, str]]:
    with open_text(path) as text:
        rows = csv.reader(text, delimiter=TABLES[path.suffix.lower()])
        try:
            found = [(f"line {rows.line_num}", [cell.strip() for cell in row]) for row in rows if any(row)]
        except csv.Error as error:
            raise BadAnnotations(f"{path}, line {rows.line_num}: {error}") from error
    if not found:
        return []
    if len(found[-1][1]) == 2 and ID.fullmatch(found[-1][1][0]):  # the first row may be a header
        return list(class_descriptions(path).items())
    at, start = _column(path, [row for _, row in found])
    if short := [place for place, row in found if len(row) <= at]:
        raise BadAnnotations(f"{path}, {short[0]} has no cell with a label")
    return [(place, row[at]) for place, row in found[start:]]


def _column(path: Path, rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return the column of the labels, and the first row that has one. Raises BadAnnotations if it is not certain."""
    header = [cell.lower() for cell in rows[0]]
    for name in HEADERS:
        if name in header:
            return header.index(name), 1
    if all(len(row) == 1 for row in rows):
        return 0, 0
    raise BadAnnotations(
        f"{path} has {len(rows[0])} columns, and none is known to hold the labels: {', '.join(rows[0])[:200]}. Name "
        "the column label, or write one label in each line of a text file"
    )


def _checked(path: Path, found: Iterable[tuple[str, str]]) -> list[str]:
    places: dict[str, str] = {}
    for place, text in found:
        label = _composed(text)
        if len(label) > MAX_LABEL:
            raise BadAnnotations(
                f"{path}, {place}: a label of {len(label):,} characters; at most {MAX_LABEL} are possible"
            )
        if not label or any(unicodedata.category(character) == "Cc" for character in label):
            raise BadAnnotations(f"{path}, {place}: {label[:40]!r} is no label; is the file a list of labels?")
        if label in places:
            raise BadAnnotations(f"{path}, {place}: {label!r} is also in {places[label]}; remove one of them")
        places[label] = place
    if not places:
        raise BadAnnotations(f"{path} has no labels")
    return list(places)
