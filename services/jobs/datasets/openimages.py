"""Open Images V4 to V7: image-level labels, each verified by people as present or absent.

Layout: https://storage.googleapis.com/openimages/web/download_v7.html. `*-annotations-human-imagelabels*.csv`
(``ImageID,Source,LabelName,Confidence``; 1 is present, 0 is absent), `*class-descriptions*.csv` (``/m/0199g,Bicycle``,
with or without a first line of names) and `<ImageID>.jpg`. Labels by machines (`*-machine-imagelabels.csv`) are not
read.
"""

import re
import sqlite3
from abc import ABC
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from services.jobs.annotations.class_names import class_descriptions
from services.jobs.annotations.scratch import scratch
from services.jobs.datasets.dataset import Dataset, first
from services.jobs.datasets.listed import media
from services.jobs.datasets.texts import table
from store.errors import BadSource
from store.items import Item

SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
"""Split for each word in the name of a file of labels. Splits are drawn for a file without one."""

_PLACES = ("", "*/", "*/train/", "*/validation/", "*/test/")
"""Folders of the tables, below that of the data set: all in one, or as Open Images' server has them."""

_LABELS = "*annotations-human-imagelabels*.csv"
_NAMES = "*class-descriptions*.csv"
_PART = re.compile(rf"(?:^|-)({'|'.join(SPLITS)})-annotations-")
_SCRIPT = """
    CREATE TABLE files (id TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID;
    CREATE TABLE verified (id TEXT, split TEXT, class TEXT, present INTEGER)"""


class _OpenImages(Dataset, ABC):
    """Open Images by the labels of one confidence.

    Attributes:
        confidence: 1 for labels that are verified as present, 0 for absent ones.
    """

    confidence: ClassVar[int]

    @classmethod
    def sign(cls, root: Path) -> Path | None:
        return first(root, *(f"{place}{_LABELS}" for place in _PLACES))

    def items(self) -> Iterator[Item]:
        names = self._names()
        with scratch(_SCRIPT) as database:
            database.executemany("INSERT OR IGNORE INTO files VALUES (?, ?)", self._files())
            for path in self._tables(_LABELS):
                self._load(database, path)
            database.execute("CREATE INDEX by_image ON verified (id, class)")
            self._contradictions(database)
            self._unlisted(database)
            yield from self._labelled(database, names)

    def _files(self) -> Iterator[tuple[str, str]]:
        return ((Path(path).stem, path) for path in media(self))

    def _names(self) -> dict[str, str]:
        """Return {id of a class: its name} from the file with most names. Raises BadSource if there is none."""
        paths = self._tables(_NAMES)
        if not paths:
            raise BadSource(f"{self.root} has no {_NAMES}, the names of the classes: download it into this folder")
        return max((class_descriptions(path) for path in paths), key=len)

    def _tables(self, pattern: str) -> list[Path]:
        return sorted({path for place in _PLACES for path in self.root.glob(f"{place}{pattern}")})

    def _load(self, database: sqlite3.Connection, path: Path) -> None:
        """Load the rows of the images that are there. The rows of others are counted as missing files."""
        part = _PART.search(path.name)
        split = SPLITS[part[1]] if part else None
        known = "SELECT EXISTS (SELECT 1 FROM files WHERE id = ?)"
        last, there = "", False
        for image, class_, confidence in table(self, path, ["ImageID", "LabelName", "Confidence"]):
            if image != last:  # the rows of an image follow each other
                last, there = image, bool(database.execute(known, (image,)).fetchone()[0])
                self.count("files_missing", image, int(not there))
            if confidence not in ("0", "1", "0.0", "1.0"):
                self.count("rows_damaged", f"{path}: {image} has the confidence {confidence!r}")
            elif there:
                row = (image, split, class_, int(float(confidence)))
                database.execute("INSERT INTO verified VALUES (?, ?, ?, ?)", row)

    def _contradictions(self, database: sqlite3.Connection) -> None:
        """Forget, and count, the labels that people verified as present and as absent in one image."""
        groups = "SELECT id, class FROM verified GROUP BY id, class HAVING MIN(present) < MAX(present)"
        found = database.execute(groups).fetchall()
        database.executemany("UPDATE verified SET present = NULL WHERE id = ? AND class = ?", found)
        self.count("labels_contradicted", " ".join(found[0]) if found else "", len(found))

    def _unlisted(self, database: sqlite3.Connection) -> None:
        count, path = database.execute(
            "SELECT COUNT(*), MIN(path) FROM files WHERE id NOT IN (SELECT id FROM verified)"
        ).fetchone()
        self.count("files_unlisted", path or "", count)

    def _labelled(self, database: sqlite3.Connection, names: dict[str, str]) -> Iterator[Item]:
        unnamed = database.execute("SELECT DISTINCT class FROM verified WHERE present = ?", (self.confidence,))
        for (class_,) in unnamed.fetchall():
            self.count("classes_unnamed", class_, int(class_ not in names))
        rows = database.execute(
            "SELECT path, MIN(split), GROUP_CONCAT(CASE WHEN present = ? THEN class END, ' ') FROM files "
            "JOIN verified USING (id) GROUP BY files.id",
            (self.confidence,),
        )
        for path, split, classes in rows:
            labels = {names.get(each, each) for each in (classes or "").split()}
            yield Item(path, labels=sorted(labels), split=split)


class OpenImages(_OpenImages):
    """Open Images with the labels that people verified as present."""

    understood = (
        "Open Images: the labels of an image are the classes that people verified as present; train is train, "
        "validation is val, test is test"
    )
    confidence = 1


class OpenImagesAbsent(_OpenImages):
    """Open Images with the labels that people verified as absent."""

    understood = (
        "Open Images: the labels of an image are the classes that people verified as absent; train is train, "
        "validation is val, test is test"
    )
    confidence = 0
