"""Vectors in `samples.json`, the file of a dataset that FiftyOne exported."""

import base64
import binascii
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.jobs.import_vectors.columns import Columns, listed
from services.jobs.import_vectors.sources import Chunk, Source
from store import files
from store.errors import BadSource, BadVectors, StoreError
from store.items import SPLIT_FOLDERS

SAMPLES = "samples.json"

MOST_BYTES = 4 << 30
"""Largest file that is read: it is in memory whole, because JSON has no rows."""

MOST_NUMBERS = 1 << 20
"""Most numbers in a vector. A compressed vector is read up to this size."""


class FiftyOneSource(Source):
    """The samples of a dataset: `filepath` is the id, a field holds the vector, a classification the label.

    A vector is a list of numbers, or NumPy's file format, compressed by zlib, as Base64. A tag `train`, `val` or
    `test` is the split.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._samples = _read(path)
        first = next(iter(self._samples), None)
        if not isinstance(first, dict):
            raise BadSource(f"{path} has no samples")
        self.field = _field(first, columns.vectors, path)
        self.columns = Columns(
            self.field, columns.ids or "filepath", columns.labels or _label_field(first), columns.splits or "tags"
        )
        vector = self._vector(0)
        self.dim, self.dtype = len(vector), vector.dtype.name

    @property
    def rows(self) -> int:
        return len(self._samples)

    def chunks(self) -> Iterator[Chunk]:
        step = max(1, min(16384, (32 << 20) // (8 * self.dim)))
        for first in range(0, self.rows, step):
            numbers = range(first, min(first + step, self.rows))
            vectors = np.stack([self._of_length(row) for row in numbers])
            some = [self._samples[row] for row in numbers]
            labels = [_label(each.get(self.columns.labels)) for each in some] if self.columns.labels else None
            splits = [_split(each.get(self.columns.splits)) for each in some]
            yield Chunk(first, vectors, [self._id(row) for row in numbers], labels, splits)

    def _id(self, row: int) -> str:
        found = self._samples[row].get(self.columns.ids)
        if not found:
            raise BadSource(f"{self.path}: sample {row:,} has no {self.columns.ids}")
        return str(found)

    def _of_length(self, row: int) -> NDArray[Any]:
        vector = self._vector(row)
        if len(vector) != self.dim:
            raise BadVectors(f"{self.path}: row {row:,} has {len(vector):,} numbers, the first vector has {self.dim:,}")
        return vector

    def _vector(self, row: int) -> NDArray[Any]:
        sample = self._samples[row]
        try:
            vector = decoded(sample[self.field])
        except (KeyError, TypeError, ValueError, zlib.error, binascii.Error, EOFError) as error:
            raise BadVectors(f"{self.path}: row {row:,} has no vector in {self.field!r} ({error})") from error
        if vector.ndim != 1 or vector.dtype.kind != "f" or not vector.size:
            raise BadVectors(f"{self.path}: row {row:,} has {vector.dtype} {vector.shape}, no vector of floats")
        return vector


def _read(path: Path) -> list[Any]:
    try:
        with files.open_regular(path) as file:
            data = files.read(file, str(path), MOST_BYTES)
        found = json.loads(data)
        samples = found["samples"] if isinstance(found, dict) else found
    except StoreError as error:
        raise BadSource(str(error)) from error
    except OSError as error:
        raise BadSource(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, RecursionError) as error:
        raise BadSource(f"{path} is no dataset of FiftyOne: {error}") from error
    if not isinstance(samples, list) or not all(isinstance(each, dict) for each in samples):
        raise BadSource(f"{path} is no dataset of FiftyOne: it has no list of samples")
    return samples


def decoded(value: Any) -> NDArray[Any]:
    """Return the vector in a field. Raises TypeError, ValueError, EOFError, zlib.error."""
    if isinstance(value, list):
        return np.array(value, np.float64)
    binary = value["$binary"] if isinstance(value, dict) else value
    text = binary["base64"] if isinstance(binary, dict) else binary
    raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), 8 * MOST_NUMBERS + 1024)
    return np.asarray(np.load(io.BytesIO(raw), allow_pickle=False))


def _field(sample: Mapping[str, Any], asked: str | None, path: Path) -> str:
    if asked is not None:
        if asked not in sample:
            raise BadSource(f"{path}: the samples have no field {asked!r}; their fields are {listed(sample)}")
        return asked
    fields = [name for name, value in sample.items() if _is_vector(value)]
    if len(fields) != 1:
        raise BadSource(
            f"{path}: {listed(fields) or 'no field'} of the samples may hold the vectors; name the one to import"
        )
    return fields[0]


def _is_vector(value: Any) -> bool:
    if isinstance(value, dict):
        return "$binary" in value
    return isinstance(value, list) and len(value) > 1 and all(isinstance(each, float | int) for each in value)


def _label_field(sample: Mapping[str, Any]) -> str | None:
    named = [
        name for name, value in sample.items() if isinstance(value, dict) and "Classification" in str(value.get("_cls"))
    ]
    return "ground_truth" if "ground_truth" in named else next(iter(named), None)


def _label(value: Any) -> Any:
    """Return the label of a Classification, the list of labels of Classifications, or the value itself."""
    if isinstance(value, dict):
        several = value.get("classifications")
        return [each.get("label") for each in several] if isinstance(several, list) else value.get("label")
    return value


def _split(value: Any) -> str | None:
    tags = value if isinstance(value, list) else [value]
    return next((str(tag) for tag in tags if str(tag).lower() in SPLIT_FOLDERS), None)
