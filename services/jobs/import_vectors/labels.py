"""Labels and splits of an import: values of a column as labels, and a second file that is joined by id."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.jobs.import_vectors.columns import Columns
from services.jobs.import_vectors.sources import Chunk
from services.jobs.import_vectors.tables import open_table
from store.errors import BadSource
from store.items import SPLIT_FOLDERS
from store.label_values import read_labels

LONGEST = 1000
"""Most characters of a label. A head's manifest takes no longer name."""

Labelled = tuple[list[str] | None, str | None]
"""The labels of a row, None if they are unknown, and its split, None if none is given."""


def labels_of(value: Any, where: str) -> list[str] | None:
    """Return the labels in a cell: a text, a number, a list, or several labels separated by ``|``.

    A missing value and blank text mean that the labels are unknown, an empty list that there are none. Raises
    BadSource for a label that is too long.
    """
    several = value if isinstance(value, list) else value.split("|") if isinstance(value, str) else [value]
    labels = read_labels(several).labels
    if long := next((each for each in labels or () if len(each) > LONGEST), None):
        raise BadSource(
            f"{where} has a label of {len(long):,} characters, {long[:30]!r}…; at most {LONGEST:,} are taken"
        )
    return labels


def split_of(value: Any, where: str) -> str | None:
    """Return the split in a cell, None if it is empty. Raises BadSource for another word than the name of a split."""
    text = "" if value is None else str(value).strip().lower()
    if text and text not in SPLIT_FOLDERS:
        raise BadSource(f"{where} has the split {text[:100]!r}; the splits are {', '.join(SPLIT_FOLDERS)}")
    return SPLIT_FOLDERS[text] if text else None


@dataclass(slots=True)
class SecondFile:
    """A table of labels, joined by what its column of ids says.

    Attributes:
        rows: labels and split by id.
        used: ids that a row of the vectors has.
    """

    path: Path
    rows: dict[str, Labelled]
    used: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path, asked: Columns) -> "SecondFile":
        """Read the file. Raises BadSource for a file without ids or labels, and for an id with two different rows."""
        table = open_table(path.expanduser())
        columns = asked.of_rows([*table.types], table.path)
        if columns.ids is None or columns.labels is None:
            missing = "ids" if columns.ids is None else "labels"
            raise BadSource(f"{path} has no column of {missing}; its columns are {', '.join(table.types)}")
        rows: dict[str, Labelled] = {}
        number = 0
        for batch in table.batches(columns.texts):
            for record in batch.to_pylist():
                where, number = f"{path}: row {number:,}", number + 1
                found = labels_of(record[columns.labels], where), split_of(record.get(columns.splits or ""), where)
                id_ = str(record[columns.ids])
                if rows.setdefault(id_, found) != found:
                    raise BadSource(f"{where} has other labels for {id_[:200]!r} than a row before it")
        return cls(path, rows)

    def of(self, chunk: Chunk) -> Iterator[Labelled]:
        for id_ in chunk.ids:
            found = self.rows.get(id_)
            if found is not None:
                self.used.add(id_)
            yield found or (None, None)

    @property
    def unused(self) -> list[str]:
        """Ids that no row of the vectors has."""
        return [id_ for id_ in self.rows if id_ not in self.used]


def own(chunk: Chunk, path: Path) -> Iterator[Labelled]:
    """Yield labels and split of each row of a chunk that has some itself."""
    nothing = [None] * len(chunk.ids)
    pairs = zip(chunk.labels or nothing, chunk.splits or nothing, strict=True)
    for row, (labels, split) in enumerate(pairs, start=chunk.first):
        where = f"{path}: row {row:,}"
        yield labels_of(labels, where), split_of(split, where)
