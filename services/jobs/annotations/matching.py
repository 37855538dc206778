"""Finds the row of a file of labels for each file: by path, by the end of the path, by name or by asset id."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from services.jobs.annotations.errors import BadAnnotations, NothingMatched
from services.jobs.annotations.reading import Reader
from services.jobs.annotations.rows import Annotation, normal
from store.label_values import Faulty

TABLES = """
    CREATE TABLE rows (n INTEGER PRIMARY KEY, place TEXT, given TEXT, key TEXT, labels TEXT, split TEXT,
        grouped TEXT);
    CREATE TABLE files (n INTEGER PRIMARY KEY, id TEXT, uri TEXT, labels TEXT, split TEXT, grouped TEXT);
    CREATE TABLE pairs (row INTEGER, file INTEGER, rank INTEGER)"""
"""`rows` of the file of labels, `files` with the labels that their source gives, and `pairs` of both that match."""

EXACT, END, WITHOUT_ENDING = 0, 1, 2
"""How well a row matches a file. Of several files, a row belongs to those that it matches best."""

By = Literal["path", "file name"]


@dataclass(frozen=True, slots=True)
class Some:
    """A number of rows or files, and the first of them as an example."""

    count: int = 0
    example: str = ""


@dataclass(slots=True)
class Matching:
    """How the rows of a file of labels and the files fit together.

    Attributes:
        source: path of the file of labels.
        understood: how it was read.
        rows, matched: number of its rows, and of those that belong to a file.
        by: what the rows were matched by.
        left: rows and files that were left out, by reason.
    """

    source: str
    understood: str
    rows: int = 0
    matched: int = 0
    by: By = "path"
    left: dict[str, Some] = field(default_factory=dict)


class Left(NamedTuple):
    """A reason to leave rows or files out: how a user reads it for one and for several, and which ones they are."""

    one: str
    several: str
    rest: str

    def said(self, some: Some) -> str:
        """Return the reason with the number and the example."""
        return f"{some.count:,} {self.one if some.count == 1 else self.several}, e.g. {some.example}"


LEFT = {
    "rows_without_file": Left(
        "row names no file", "rows name no file", "FROM rows WHERE key != '' AND n NOT IN (SELECT row FROM pairs)"
    ),
    "rows_with_several_files": Left(
        "row names several files",
        "rows name several files",
        "FROM rows WHERE n IN (SELECT row FROM pairs WHERE rank < 0)",
    ),
    "rows_without_name": Left("row names nothing", "rows name nothing", "FROM rows WHERE key = ''"),
    "rows_without_label": Left("row has no label", "rows have no label", "FROM rows WHERE labels IS NULL"),
    "files_without_row": Left(
        "file has no row",
        "files have no row",
        "FROM files WHERE id IS NOT NULL AND n NOT IN (SELECT file FROM pairs WHERE rank >= 0)",
    ),
}
"""The reasons to leave a row or a file out."""


def load(database: sqlite3.Connection, reader: Reader, folder: str, faulty: Faulty) -> int:
    """Write the rows of a file of labels into `rows`, and return their number. Raises BadAnnotations for bad ones.

    Args:
        folder: the folder to which its paths are relative, if that is certain; "" otherwise.
        faulty: counts what is wrong with the labels.
    """
    before = database.execute("SELECT COUNT(*) FROM rows").fetchone()[0]
    insert = "INSERT INTO rows (place, given, key, labels, split, grouped) VALUES (?, ?, ?, ?, ?, ?)"
    database.executemany(insert, (_row(each, folder) for each in _counted(reader, faulty)))
    count: int = database.execute("SELECT COUNT(*) FROM rows").fetchone()[0] - before
    if not count:
        raise BadAnnotations(f"{reader.path} has no rows")
    return count


def _counted(reader: Reader, faulty: Faulty) -> Iterator[Annotation]:
    for each in reader:
        faulty.add(f"{reader.path}, {each.place}", each.label_faults)
        yield each


def _row(found: Annotation, folder: str) -> tuple[str, str, str, str | None, str | None, str | None]:
    key = normal(found.key)
    labels = None if found.labels is None else json.dumps(found.labels)
    return found.place, found.key, f"{folder}/{key}" if folder and key else key, labels, found.split, found.group


def match(database: sqlite3.Connection, roots: Sequence[str], about: Matching) -> None:
    """Fill `pairs`, first by path; if not one row matches, by file name alone. Counts go to `about`.

    A row that matches several files of different content equally well belongs to none of them.

    Args:
        roots: folders to which the paths of the rows may be relative.

    Raises NothingMatched if no row belongs to a file.
    """
    database.execute("CREATE INDEX keys ON rows (key)")
    _pair(database, _Paths(database, roots))
    if not _any(database):
        database.create_function("base", 1, lambda key: key.rpartition("/")[2], deterministic=True)
        database.create_function("bare", 1, _bare, deterministic=True)
        database.execute("UPDATE rows SET key = base(key)")
        about.by = "file name"
        _pair(database, _names)
        # Rows with different paths and one name are about different files.
        database.execute(
            "UPDATE pairs SET rank = -1 WHERE row IN (SELECT n FROM rows WHERE key IN "
            "(SELECT key FROM rows GROUP BY key HAVING COUNT(DISTINCT given) > 1))"
        )
    about.matched = _one(database, "SELECT COUNT(DISTINCT row) FROM pairs WHERE rank >= 0")
    about.left = {reason: some for reason, left in LEFT.items() if (some := _some(database, left.rest)).count}
    if not about.matched:
        row, file = (about.left.get(each, Some()) for each in ("rows_without_file", "files_without_row"))
        raise NothingMatched(
            f"no row of {about.source} belongs to a file ({about.understood}). "
            f"Its rows name, e.g., {row.example or 'no file'}; the files are, e.g., {file.example or 'none'}. "
            "Nothing was stored; name the column with the paths, names or ids of the files"
        )


def _pair(database: sqlite3.Connection, keys_of: Callable[[str | None, str], Iterable[tuple[str, int]]]) -> None:
    database.execute("DELETE FROM pairs")
    database.executemany("INSERT INTO pairs VALUES (?, ?, ?)", _pairs(database, keys_of))
    database.execute("CREATE INDEX IF NOT EXISTS pairs_by_row ON pairs (row)")
    database.execute("CREATE INDEX IF NOT EXISTS pairs_by_file ON pairs (file)")
    # A row belongs to the files that it matches best ...
    database.execute("DELETE FROM pairs WHERE rank > (SELECT MIN(rank) FROM pairs p WHERE p.row = pairs.row)")
    # ... unless their contents differ.
    database.execute(
        "UPDATE pairs SET rank = -1 WHERE row IN (SELECT row FROM pairs JOIN files ON files.n = pairs.file "
        "GROUP BY row HAVING COUNT(*) > 1 AND COUNT(DISTINCT files.id) > 1)"
    )


def _pairs(
    database: sqlite3.Connection, keys_of: Callable[[str | None, str], Iterable[tuple[str, int]]]
) -> Iterator[tuple[int, int, int]]:
    look_up = "SELECT n FROM rows WHERE key = ?"
    for file, id_, uri in database.execute("SELECT n, id, uri FROM files"):
        for key, rank in keys_of(id_, uri):
            found = database.execute(look_up, (key,)).fetchall()
            yield from ((row, file, rank) for (row,) in found)
            if found:
                break


class _Paths:
    """The keys under which the row of a file may stand: its paths from the best to the least certain, and its id."""

    def __init__(self, database: sqlite3.Connection, roots: Sequence[str]) -> None:
        self._roots = [root.rstrip("/") + "/" for root in roots]
        database.create_function("depth", 1, lambda key: key.count("/"), deterministic=True)
        self._depths = [
            depth for (depth,) in database.execute("SELECT DISTINCT depth(key) d FROM rows ORDER BY d DESC")
        ]

    def __call__(self, id_: str | None, uri: str) -> Iterator[tuple[str, int]]:
        path = normal(uri)
        yield path, EXACT
        yield from ((path.removeprefix(root), EXACT) for root in self._roots if path.startswith(root))
        if id_ is not None:
            yield id_, EXACT
        parts = path.rpartition("#")[2].split("/") if ".tar#" in path or ".parquet#" in path else path.split("/")
        ends = ["/".join(parts[-depth - 1 :]) for depth in self._depths if depth < len(parts)]
        yield from ((end, END) for end in ends)
        yield from ((bare, WITHOUT_ENDING) for end in ends if (bare := _bare(end)) != end)


def _names(_: str | None, uri: str) -> Iterator[tuple[str, int]]:
    name = PurePosixPath(normal(uri)).name
    yield name, END
    yield _bare(name), WITHOUT_ENDING


def _bare(path: str) -> str:
    """Return a path without the ending of its name."""
    start, dot, ending = path.rpartition(".")
    return start if dot and "/" not in ending and not start.endswith("/") else path


def _any(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM pairs LIMIT 1").fetchone() is not None


def _one(database: sqlite3.Connection, query: str) -> int:
    return int(database.execute(query).fetchone()[0])


def _some(database: sqlite3.Connection, rest: str) -> Some:
    shown = "uri" if rest.startswith("FROM files") else "place || ': ' || given"
    count = _one(database, f"SELECT COUNT(*) {rest}")
    example = database.execute(f"SELECT {shown} {rest} ORDER BY n LIMIT 1").fetchone()
    return Some(count, example[0][:200]) if example else Some()
