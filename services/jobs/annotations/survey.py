"""Reads all files and labels before anything is stored, and finds what does not fit together.

An ingest reads each file twice: here, for its id, and again when it stores it. In exchange, nothing is half done: a row
with a wrong split, a label that is no label, or the same content under two labels ends it before the first write.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby, islice
from operator import attrgetter
from typing import Literal, NamedTuple

from services.jobs.annotations.errors import Conflicts, MovedSplit
from services.jobs.annotations.matching import TABLES, Matching, load, match
from services.jobs.annotations.reading import Reader
from services.jobs.annotations.scratch import scratch
from services.jobs.progress import OnProgress, Step, ignore
from store import Item, Label, Store
from store.errors import FrozenSplit
from store.label_values import Faulty
from store.rows import encodable

OnConflict = Literal["error", "first", "last", "both"]

SHOWN = 20
"""Largest number of conflicts that are listed."""

CHUNK = 65_536
_EVERY = 500

_SCRIPT = f"""{TABLES};
    CREATE TABLE given (n INTEGER PRIMARY KEY, id TEXT, place TEXT, labels TEXT, canonical TEXT, split TEXT,
        grouped TEXT);
    CREATE TABLE decided (id TEXT PRIMARY KEY, n INTEGER, labels TEXT, split TEXT, grouped TEXT)"""
"""`given` has a row for each time that labels are given to a content, `decided` one for each content."""


class Given(NamedTuple):
    """The labels that one file, or one row of a file of labels, gives to a content: the `n`th of all."""

    id: str
    n: int
    place: str
    labels: list[str]
    split: str | None
    group: str | None

    def __str__(self) -> str:
        more = "".join(f", {name} {value}" for name, value in (("split", self.split), ("group", self.group)) if value)
        return f"{self.place} ({' | '.join(self.labels) or 'no label'}{more})"


def _first(given: Sequence[Given]) -> Given:
    return given[0]._replace(split=_known(given, "split"), group=_known(given, "group"))


def _last(given: Sequence[Given]) -> Given:
    return given[-1]._replace(split=_known(given[::-1], "split"), group=_known(given[::-1], "group"))


def _both(given: Sequence[Given]) -> Given:
    labels = dict.fromkeys(label for each in given for label in each.labels)
    return _first(given)._replace(labels=list(labels))


def _known(given: Sequence[Given], name: str) -> str | None:
    return next((value for each in given if (value := getattr(each, name)) is not None), None)


DECIDE: dict[OnConflict, Callable[[Sequence[Given]], Given]] = {
    "error": _first,  # all of them agree
    "first": _first,
    "last": _last,
    "both": _both,
}
"""Which labels a content gets, from all that are given to it, in the order of the files or rows."""


@dataclass(slots=True)
class Survey:
    """The labels of an ingest, checked.

    Attributes:
        matching: how the file of labels fits the files; None if there is none.
        labelled: number of contents with labels.
        conflicts: number of contents under different labels, splits or groups.
        examples: the first SHOWN conflicts.
        faulty: number of rows with labels in which something is wrong.
    """

    database: sqlite3.Connection
    matching: Matching | None = None
    labelled: int = 0
    conflicts: int = 0
    examples: list[str] = field(default_factory=list)
    faulty: Faulty = field(default_factory=Faulty)

    def relabelled(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items with the labels, splits and groups that were decided."""
        query = "SELECT d.labels, d.split, d.grouped FROM files f JOIN decided d ON d.id = f.id WHERE f.uri = ?"
        for item in items:
            row = self.database.execute(query, (encodable(item.uri),)).fetchone()
            labels, split, group = (json.loads(row[0]), *row[1:]) if row else (None, None, None)
            yield replace(item, labels=labels, split=split, group=group)

    def has_groups(self) -> bool:
        """Return True if a content has a group."""
        found = self.database.execute("SELECT 1 FROM decided WHERE grouped IS NOT NULL LIMIT 1").fetchone()
        return found is not None

    def labels(self, source: str) -> Iterator[Label]:
        """Yield the decided labels in the order of the files."""
        query = "SELECT id, labels, split, grouped FROM decided ORDER BY n"
        for id_, labels, split, group in self.database.execute(query):
            yield Label(id_, json.loads(labels), split, source, group)


class Sheet(NamedTuple):
    """A file of labels, and the folder to which its paths are relative if that is certain."""

    reader: Reader
    folder: str = ""


@contextmanager
def survey(
    store: Store,
    task: str,
    files: Iterable[Item] | None,
    id_of: Callable[[Item], str | None],
    *,
    sheets: Sequence[Sheet] = (),
    roots: Sequence[str] = (),
    on_conflict: OnConflict = "error",
    on_progress: OnProgress[Step] = ignore,
) -> Iterator[Survey]:
    """Check everything that is known about the labels of `task`, and yield the result. Nothing is stored.

    Args:
        files: the files to be ingested; None for the stored assets.
        id_of: returns the asset id of a file; None if it cannot be stored, and so gets no labels.
        sheets: files of labels; () if the labels are those of the files.
        roots: folders to which the paths in `sheets` may be relative.
        on_conflict: which labels the same content gets if several are given. "error" raises Conflicts.

    Raises BadAnnotations, NothingMatched, Conflicts, and what `Labels.require` raises.
    """
    with scratch(_SCRIPT) as database:
        found = Survey(database)
        if sheets:
            first = sheets[0].reader
            found.matching = Matching(str(first.path), first.understood)
            found.matching.rows = sum(load(database, reader, folder, found.faulty) for reader, folder in sheets)
        rows = _stored(store) if files is None else _read(files, id_of, Faulty() if sheets else found.faulty)
        insert = "INSERT INTO files (id, uri, labels, split, grouped) VALUES (?, ?, ?, ?, ?)"
        database.executemany(insert, _counted(rows, on_progress))
        database.execute("CREATE INDEX files_by_uri ON files (uri)")
        if found.matching is not None:
            match(database, roots, found.matching)
        database.create_function("canonical", 1, _canonical, deterministic=True)
        database.execute(_FROM_SHEETS if sheets else _FROM_FILES)
        _decide(found, on_conflict)
        _require(store, task, found)
        yield found


_FROM_FILES = (
    "INSERT INTO given (id, place, labels, canonical, split, grouped) "
    "SELECT id, uri, labels, canonical(labels), split, grouped FROM files "
    "WHERE id IS NOT NULL AND labels IS NOT NULL ORDER BY n"
)
_FROM_SHEETS = (
    "INSERT INTO given (id, place, labels, canonical, split, grouped) SELECT f.id, f.uri || ', ' || r.place, r.labels, "
    "canonical(r.labels), COALESCE(r.split, f.split), COALESCE(r.grouped, f.grouped) "
    "FROM pairs p JOIN rows r ON r.n = p.row JOIN files f ON f.n = p.file "
    "WHERE p.rank >= 0 AND f.id IS NOT NULL AND r.labels IS NOT NULL ORDER BY f.n, r.n"
)

_FilesRow = tuple[str | None, str, str | None, str | None, str | None]


def _stored(store: Store) -> Iterator[_FilesRow]:
    for batch in store.assets.table.scan(["id", "uri"]):
        for row in batch.to_pylist():
            yield row["id"], row["uri"], None, None, None


def _read(items: Iterable[Item], id_of: Callable[[Item], str | None], faulty: Faulty) -> Iterator[_FilesRow]:
    for item in items:
        faulty.add(encodable(item.uri), item.label_faults)
        labels = None if item.labels is None else json.dumps(item.labels)
        yield id_of(item), encodable(item.uri), labels, item.split, item.group


def _counted(rows: Iterable[_FilesRow], on_progress: OnProgress[Step]) -> Iterator[_FilesRow]:
    count = 0
    for count, row in enumerate(rows, 1):
        yield row
        if count % _EVERY == 0:
            on_progress(Step(count, None, "checked"))
    on_progress(Step(count, count, "checked"))


@lru_cache(10_000)
def _canonical(labels: str) -> str:
    """Return JSON of the same labels that is equal for equal sets of labels."""
    return json.dumps(sorted(set(json.loads(labels))))


def _decide(found: Survey, on_conflict: OnConflict) -> None:
    """Fill `decided`. Raises Conflicts if a content is given several labels, splits or groups, for "error"."""
    database = found.database
    database.execute("CREATE INDEX given_by_id ON given (id, n)")
    several = " OR ".join(f"COUNT(DISTINCT {column}) > 1" for column in ("canonical", "split", "grouped"))
    conflicts = f"SELECT id FROM given GROUP BY id HAVING {several}"  # noqa: S608
    database.execute(f"CREATE TABLE conflicts AS {conflicts}")
    found.conflicts = database.execute("SELECT COUNT(*) FROM conflicts").fetchone()[0]
    first = f"SELECT id FROM conflicts JOIN given USING (id) GROUP BY id ORDER BY MIN(n) LIMIT {SHOWN}"  # noqa: S608
    groups = sorted(_groups(database, f"WHERE id IN ({first})"), key=lambda group: group[0].n)
    found.examples = [" and ".join(map(str, group[:3])) for group in groups]
    if found.conflicts and on_conflict == "error":
        raise Conflicts(found.conflicts, found.examples)
    decide = DECIDE[on_conflict]
    database.executemany(
        "INSERT INTO decided VALUES (?, ?, ?, ?, ?)",
        ((one.id, one.n, json.dumps(one.labels), one.split, one.group) for one in map(decide, _groups(database))),
    )
    found.labelled = database.execute("SELECT COUNT(*) FROM decided").fetchone()[0]


def _groups(database: sqlite3.Connection, where: str = "") -> Iterator[list[Given]]:
    """Yield all labels that each content is given, content by content."""
    rows = database.execute(f"SELECT id, n, place, labels, split, grouped FROM given {where} ORDER BY id, n")  # noqa: S608
    given = (Given(id_, n, place, json.loads(labels), *rest) for id_, n, place, labels, *rest in rows)
    return (list(group) for _, group in groupby(given, key=attrgetter("id")))


def _require(store: Store, task: str, found: Survey) -> None:
    labels = found.labels("")
    while chunk := list(islice(labels, CHUNK)):
        try:
            store.labels.require(task, chunk)
        except FrozenSplit as error:
            query = "SELECT place FROM given WHERE id = ? AND split IS NOT NULL ORDER BY n LIMIT 1"
            [place] = found.database.execute(query, (error.moves[0][0],)).fetchone()
            raise MovedSplit(error, place) from error
