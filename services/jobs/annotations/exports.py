"""Exports of annotation tools: COCO, Label Studio, CVAT. Each is read as labels of whole images."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit
from xml.parsers import expat

from services.jobs.annotations.errors import BadAnnotations
from services.jobs.annotations.json_stream import pieces
from services.jobs.annotations.rows import Annotation, key_of, labels_of
from services.jobs.annotations.scratch import scratch
from services.jobs.annotations.text import open_binary, open_text
from store.items import SPLIT_FOLDERS

_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""

_STEP = 1 << 16


class Coco:
    """COCO's object detection format. The labels of an image are the categories of its annotations.

    An image without annotations has none of the labels.
    """

    understood = "COCO: the labels of an image are the categories of its annotations"

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Annotation]:
        script = """
            CREATE TABLE images (id PRIMARY KEY, name TEXT);
            CREATE TABLE categories (id PRIMARY KEY, name TEXT);
            CREATE TABLE marks (image, category, PRIMARY KEY (image, category)) WITHOUT ROWID"""
        with scratch(script) as database:
            with open_text(self.path) as text:
                for key, piece in pieces(text, self.path):
                    if key in _COCO:
                        database.execute(_COCO[key][0], self._fields(key, piece))
            unknown = database.execute(
                "SELECT image, category FROM marks WHERE image NOT IN (SELECT id FROM images) "
                "OR category NOT IN (SELECT id FROM categories)"
            ).fetchone()
            if unknown is not None:
                raise BadAnnotations(
                    f"{self.path}: an annotation names image {unknown[0]} and category {unknown[1]}, but one of them "
                    "is not in the file; export it again"
                )
            rows = database.execute(
                "SELECT id, name, (SELECT json_group_array(name) FROM (SELECT c.name FROM marks m JOIN categories c "
                "ON c.id = m.category WHERE m.image = images.id ORDER BY c.name)) FROM images ORDER BY rowid"
            )
            for id_, name, labels in rows:
                place = f"image {id_}"
                read = labels_of(json.loads(labels), f"{self.path}, {place}")
                yield Annotation(place, key_of(name), read.labels, label_faults=read.faults)

    def _fields(self, key: str, piece: object) -> list[object]:
        names = _COCO[key][1]
        found = [piece.get(name) for name in names] if isinstance(piece, Mapping) else []
        if not found or not all(isinstance(value, int | str) for value in found):
            raise BadAnnotations(f"{self.path}: an element of {key!r} lacks {' or '.join(names)}: {str(piece)[:80]}")
        return found


_COCO = {
    "images": ("INSERT OR REPLACE INTO images VALUES (?, ?)", ("id", "file_name")),
    "categories": ("INSERT OR REPLACE INTO categories VALUES (?, ?)", ("id", "name")),
    "annotations": ("INSERT OR IGNORE INTO marks VALUES (?, ?)", ("image_id", "category_id")),
}
"""For each array of a COCO file: where its elements go, and the fields that are needed."""


class LabelStudio:
    """Label Studio's JSON export. The labels of a task are its choices.

    If several people answered, the answer that is marked as ground truth counts, or else the last one.
    """

    understood = "Label Studio: the labels are the choices of each task"

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Annotation]:
        with open_text(self.path) as text:
            for number, (_, task) in enumerate(pieces(text, self.path), 1):
                if not isinstance(task, Mapping):
                    raise BadAnnotations(f"{self.path}: task {number} is not an object")
                place = f"task {task.get('id', number)}"
                read = labels_of(_choices(task), f"{self.path}, {place}")
                yield Annotation(place, _uploaded(task), read.labels, label_faults=read.faults)


def _choices(task: Mapping[str, object]) -> list[object] | None:
    answers = task.get("annotations") or task.get("completions") or []
    valid = [each for each in answers if isinstance(each, Mapping) and not each.get("was_cancelled")]  # type: ignore[attr-defined]
    chosen = next((each for each in valid if each.get("ground_truth")), valid[-1] if valid else {})
    found = [each for each in chosen.get("result") or [] if each.get("type") == "choices"]
    values = [each.get("value") or {} for each in found]
    return [label for value in values for label in value.get("choices") or []] if values else None


def _uploaded(task: Mapping[str, object]) -> str:
    """Return the path of a task's file: Label Studio stores it as a link to its own server."""
    data = task.get("data")
    texts = [value for value in data.values() if isinstance(value, str)] if isinstance(data, Mapping) else []
    link = next((text for text in texts if "/" in text or "." in text), "")
    parts = urlsplit(link)
    if given := parse_qs(parts.query).get("d"):  # /data/local-files/?d=photos/1.jpg
        return key_of(given[0])
    path = unquote(parts.path) if parts.scheme or link.startswith("/data/") else link
    if path.startswith("/data/upload/"):
        return key_of(_UPLOADED.sub("", PurePosixPath(path).name))
    return key_of(path.lstrip("/") if parts.netloc else path)


class Cvat:
    """CVAT's XML ("CVAT for images"). The labels of an image are its tags; shapes are not read."""

    understood = "CVAT: the labels of an image are its tags"

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Annotation]:
        found = _Images()
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
        parser.StartDoctypeDeclHandler = self._refuse
        with open_binary(self.path) as raw:
            while part := raw.read(_STEP):
                self._feed(parser, part, last=False)
                yield from found.take()
        self._feed(parser, b"", last=True)
        yield from found.take()
        if found.shapes and not found.tags:
            raise BadAnnotations(
                f"{self.path} has shapes, but no tags, so its images have no labels; export it as COCO to label each "
                "image with what is in it"
            )

    def _feed(self, parser: expat.XMLParserType, part: bytes, *, last: bool) -> None:
        try:
            parser.Parse(part, last)
        except expat.ExpatError as error:
            raise BadAnnotations(f"{self.path} is not XML: {error}") from error

    def _refuse(self, *_: object) -> None:
        raise BadAnnotations(f"{self.path} declares a document type, which no export of CVAT does; it is not read")


class _Images:
    """The images of a CVAT file that the parser has completed."""

    def __init__(self) -> None:
        self._done: list[Annotation] = []
        self._image: dict[str, str] | None = None
        self._labels: list[str] = []
        self.tags = self.shapes = 0

    def start(self, name: str, values: dict[str, str]) -> None:
        if name == "image":
            self._image, self._labels = values, []
        elif self._image is not None and "label" in values:
            self.tags += name == "tag"
            self.shapes += name != "tag"
            self._labels += [values["label"]] if name == "tag" else []

    def end(self, name: str) -> None:
        if name != "image" or self._image is None:
            return
        place = f"image {self._image.get('id', '?')}"
        split = SPLIT_FOLDERS.get(self._image.get("subset", "").lower())
        labels, faults = labels_of(self._labels or None, place)
        self._done.append(Annotation(place, key_of(self._image.get("name")), labels, split, faults))
        self._image = None

    def take(self) -> list[Annotation]:
        done, self._done = self._done, []
        return done
