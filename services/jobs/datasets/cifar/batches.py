"""The files of CIFAR: batches of images with the numbers of their classes, and the names of the classes."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from services.jobs.datasets.cifar.png import PIXELS
from services.jobs.datasets.cifar.unpickle import Bytes, unpickle
from services.jobs.datasets.texts import lines
from store import files
from store.errors import BadSource


class Batch(NamedTuple):
    """Images of one file.

    Attributes:
        codes: number of the class of each image, n.
        planes: PIXELS bytes of each image, one after the other.
    """

    codes: list[int]
    planes: bytes


class Version(NamedTuple):
    """How one version of a CIFAR is stored.

    Attributes:
        folders: the folders of the files, relative to the folder that a user gives.
        names: the file with the names of the classes.
        ending: ending of the names of the batches.
        read_names, read_batch: read such files. Both raise BadSource.
    """

    folders: tuple[str, ...]
    names: str
    ending: str
    read_names: Callable[[Path], list[str]]
    read_batch: Callable[[Path], Batch]


def python(folder: str, names: str, names_key: str, labels_key: str) -> Version:
    """Return the Python version: pickled dictionaries."""

    def read_names(path: Path) -> list[str]:
        found = unpickle(_read(path), str(path)).get(names_key)
        if not isinstance(found, list) or not found or not all(isinstance(name, bytes) for name in found):
            raise BadSource(f"{path} has no list {names_key}")
        return [name.decode(errors="replace") for name in found]

    def read_batch(path: Path) -> Batch:
        found = unpickle(_read(path), str(path))
        codes, pixels = found.get(labels_key), found.get("data")
        if not isinstance(codes, list) or not all(type(code) is int for code in codes):
            raise BadSource(f"{path} has no list {labels_key} of whole numbers")
        if not isinstance(pixels, Bytes) or pixels.shape != (len(codes), PIXELS):
            raise BadSource(f"{path} has no array of {len(codes)} × {PIXELS} numbers for {len(codes)} labels")
        return _batch(path, codes, pixels.data)

    return Version((".", folder), names, "", read_names, read_batch)


def binary(folder: str, names: str, at: int, label_bytes: int) -> Version:
    """Return the binary version: records of `label_bytes` numbers of classes, the one at `at` counts, and pixels."""

    def read_names(path: Path) -> list[str]:
        return [name for _, name in lines(path)]

    def read_batch(path: Path) -> Batch:
        data, size = _read(path), label_bytes + PIXELS
        if not data or len(data) % size:
            raise BadSource(f"{path} has {len(data):,} bytes, no multiple of {size:,}: it is damaged")
        starts = range(0, len(data), size)
        codes = [data[start + at] for start in starts]
        return _batch(path, codes, b"".join(data[start + label_bytes : start + size] for start in starts))

    return Version((".", folder), names, ".bin", read_names, read_batch)


def _batch(path: Path, codes: list[int], planes: bytes) -> Batch:
    if len(planes) != len(codes) * PIXELS:
        raise BadSource(f"{path} has {len(planes):,} bytes of pixels for {len(codes):,} images: it is damaged")
    return Batch(codes, planes)


def _read(path: Path) -> bytes:
    try:
        with files.open_regular(path) as file:
            return files.read(file, str(path))
    except OSError as error:
        raise BadSource(f"{path} cannot be read: {error}") from error
