"""Reads WebDataset's tar files: the files of a sample follow each other and have one name up to the first dot."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import IO, NamedTuple

from store import files
from store.errors import BadFile, BadSource
from store.items import Item
from store.label_values import ReadLabels, read_labels
from store.rows import encodable

ABOUT = ("cls", "json", "txt", "text", "caption", "index", "id", "url", "key")
"""Endings of files that say something about a sample. Every other file of a sample is an item."""

LABEL_KEYS = ("label", "labels", "class", "class_name", "cls", "category")
_SMALL = 1 << 20


class _Member(NamedTuple):
    """A file in the tar file. `data` is None if it is too large."""

    name: str
    sample: str
    ending: str
    data: bytes | None


def read_tar(path: str | Path) -> Iterator[Item]:
    """Yield the media files of a tar file as items with the uri ``<file>#<name in it>``, sample by sample.

    The label is the text of the sample's ``.cls`` file, or the `label`, `labels`, `class`, `class_name`, `cls` or
    `category` of its ``.json`` file. A sample without a media file becomes an item of zero bytes, so that it is
    reported and not lost. The tar file may be compressed.

    Raises BadSource if the file is not a tar file, or damaged.
    """
    path = Path(path).expanduser().absolute()
    try:
        with files.open_regular(path) as raw, tarfile.open(fileobj=raw, mode="r|*") as tar:
            for _, sample in groupby(_members(tar), key=lambda member: member.sample):
                yield from _items(path, list(sample))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadSource(f"{path} is not a whole tar file: {error}") from error


def _members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        folder, _, name = info.name.rpartition("/")
        stem, _, ending = name.partition(".")
        if info.isfile() and stem:  # without links and devices, and without names that start with a dot
            yield _Member(encodable(info.name), f"{folder}/{stem}", ending.lower(), _data(tar.extractfile(info), info))


def _data(file: IO[bytes] | None, info: tarfile.TarInfo) -> bytes | None:
    return None if file is None or info.size > files.MAX_BYTES else file.read()


def _items(path: Path, sample: list[_Member]) -> Iterator[Item]:
    labels, faults = _labels({member.ending: member.data or b"" for member in sample if member.ending in ABOUT})
    media = [member for member in sample if member.ending not in ABOUT]
    for member in media or [_Member(sample[0].name, sample[0].sample, "", b"")]:
        uri = f"{path}#{member.name}"
        fault = BadFile("too_large", f"{uri} has more than the limit of {files.MAX_BYTES:,} bytes")
        yield Item(uri, member.data or b"", labels, fault=fault if member.data is None else None, label_faults=faults)


def _labels(about: Mapping[str, bytes]) -> ReadLabels:
    """Return the labels that the files about a sample give."""
    if text := about.get("cls", b"")[:_SMALL].decode(errors="replace").strip():
        return read_labels([text])
    try:
        record = json.loads(about.get("json", b"null"))
    except (ValueError, RecursionError):
        return read_labels([None])
    given = record if isinstance(record, dict) else {}
    found = next((given[name] for name in LABEL_KEYS if given.get(name) is not None), None)
    return read_labels(found if isinstance(found, list) else [found])
