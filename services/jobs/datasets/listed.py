"""The files of a data set whose lists name them, wherever below its folder they were unpacked."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from services.jobs.datasets.dataset import Dataset
from store.items import Item
from store.walk import walk

IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm")
MEDIA = frozenset(IMAGES + SOUNDS + VIDEOS)
"""Endings, in lower case, of the files that data sets list. All other files say something about these."""


class Listed:
    """The media files below a data set's folder, by the stem of their names. Each is taken once.

    Archives are unpacked into folders of many names, so the folder of a listed file does not count. Of several files
    with one stem, the first by path is the one that the list means.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._paths: dict[str, str] = {}
        self._others: list[str] = []
        for path in media(dataset):
            stem = Path(path).stem
            if self._paths.setdefault(stem, path) != path:
                self._others.append(path)
        self._taken: set[str] = set()

    def take(self, name: str, labels: list[str] | None, split: str | None) -> Item | None:
        """Return the listed file `name` with its labels; None, and count it as missing, if it is not there.

        A file whose labels are None is counted as unlabelled.

        Args:
            name: a path or a name, with or without an ending.
        """
        stem = stem_of(name)
        path = self._paths.get(stem)
        if path is None:
            self._dataset.count("files_missing", name)
            return None
        self._taken.add(stem)
        self._dataset.count("files_unlabelled", path, int(labels is None))
        return Item(path, labels=labels, split=split)

    def close(self) -> None:
        """Count the files that were not taken as unlisted."""
        left = [*(path for stem, path in self._paths.items() if stem not in self._taken), *self._others]
        self._dataset.count("files_unlisted", left[0] if left else "", len(left))


def media(dataset: Dataset) -> Iterator[str]:
    """Yield the paths of the media files below a data set's folder. A folder that cannot be read is counted."""
    for path, _, fault in walk(str(dataset.root), dataset.junk):
        if fault is not None:
            dataset.count("parts_damaged", str(fault))
        elif os.path.splitext(path)[1].lower() in MEDIA:
            yield path


def stem_of(name: str) -> str:
    """Return the name of a file without its folders (of any system) and without the ending of a media file."""
    path = PurePosixPath(name.strip().replace("\\", "/"))
    return path.stem if path.suffix.lower() in MEDIA else path.name
