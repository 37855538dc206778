"""Files of vectors: NPY with or without a table of its rows, tables with a column of vectors, folders, FiftyOne's JSON.

Every source yields the same chunks. It can be read several times: once to check it, once to store it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.jobs.import_vectors.columns import Columns
from services.jobs.import_vectors.tables import TableFile, open_table
from store import files
from store.errors import BadSource, BadVectors, StoreError
from store.rows import matrix_view

ROWS = 16384
"""Most rows of a chunk of an NPY or a Parquet file."""

FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows in the order of the source.

    Attributes:
        first: number of the first row, from 0.
        vectors: floats as the file has them, (n, d).
        ids: what the source calls each row, (n,).
        labels, splits: raw values, (n,); None if the source has none.
    """

    first: int
    vectors: NDArray[Any]
    ids: list[str]
    labels: list[Any] | None = None
    splits: list[Any] | None = None


class Source(ABC):
    """Vectors in files.

    Attributes:
        path: the file or folder, for messages.
        dim: numbers in each vector.
        dtype: type of the numbers: float16, float32 or float64.
        field: name of what holds the vectors.
        columns: where ids, labels and splits come from.
    """

    path: Path
    dim: int
    dtype: str
    field: str
    columns: Columns

    @property
    def schema(self) -> str:
        """Description of the vectors, for the identity of the encoder. The precision is no part of it."""
        return f"{self.field}: {self.dim} floats"

    @property
    @abstractmethod
    def rows(self) -> int | None:
        """Number of rows; None if it is unknown before all are read."""

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows. Raises BadSource for damaged files, BadVectors for vectors of another length."""


@dataclass(frozen=True, slots=True)
class Npy:
    """The array (n, d) in an NPY file, read in pieces."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    offset: int
    by_columns: bool

    @classmethod
    def open(cls, path: Path) -> "Npy":
        """Read the header. Raises BadSource for anything but a whole NPY file of two dimensions and of floats."""
        try:
            with files.open_regular(path):
                pass
            array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        except StoreError as error:
            raise BadSource(str(error)) from error
        except (OSError, ValueError, EOFError) as error:
            raise BadSource(f"{path} is not a whole NPY file of numbers: {error}") from error
        if not isinstance(array, np.memmap) or array.ndim != 2 or array.dtype.name not in FLOATS or not array.shape[1]:
            found = f"{getattr(array, 'dtype', 'no array')} {getattr(array, 'shape', '')}"
            raise BadSource(f"{path} holds {found.strip()}; give floats of shape (number of vectors, length of each)")
        fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
        return cls(path, array.shape, array.dtype, int(array.offset), fortran)

    def read(self, first: int, count: int) -> NDArray[Any]:
        """Return `count` rows from row `first` on, in the byte order of this machine."""
        if self.by_columns:
            part: Any = np.load(self.path, mmap_mode="r", allow_pickle=False)[first : first + count]
        else:
            size = self.shape[1]
            start = self.offset + first * size * self.dtype.itemsize
            part = np.fromfile(self.path, self.dtype, count * size, offset=start).reshape(-1, size)
        if len(part) != count:
            raise BadSource(f"{self.path} was changed while it was read; import it again")
        return np.ascontiguousarray(part, self.dtype.newbyteorder("="))


class NpySource(Source):
    """NPY files, each with a table of its rows in the same order, or all without."""

    field = "npy"

    def __init__(self, path: Path, parts: Sequence[tuple[Path, Path | None]], columns: Columns) -> None:
        self.path = path
        self._parts = [(Npy.open(array), open_table(rows) if rows else None) for array, rows in parts]
        first, rows = self._parts[0]
        self.dim, self.dtype = first.shape[1], first.dtype.name
        for array, _ in self._parts:
            if array.shape[1] != self.dim:
                raise BadVectors(f"{array.path} has vectors of {array.shape[1]} numbers, {first.path} of {self.dim}")
        self.dtype = max((array.dtype.name for array, _ in self._parts), key=FLOATS.index)
        self.columns = columns.of_rows([*rows.types], rows.path) if rows else columns

    @property
    def rows(self) -> int:
        return sum(array.shape[0] for array, _ in self._parts)

    def chunks(self) -> Iterator[Chunk]:
        first = 0
        for array, rows in self._parts:
            yield from self._with_rows(array, rows, first) if rows else self._numbered(array, first)
            first += array.shape[0]

    def _numbered(self, array: Npy, first: int) -> Iterator[Chunk]:
        for at in range(0, array.shape[0], ROWS):
            vectors = array.read(at, min(ROWS, array.shape[0] - at))
            ids = [f"{array.path.name}#{at + i}" for i in range(len(vectors))]
            yield Chunk(first + at, vectors, ids)

    def _with_rows(self, array: Npy, rows: TableFile, first: int) -> Iterator[Chunk]:
        at, count = 0, array.shape[0]
        for batch in _pieces(rows.batches(self.columns.texts)):
            if at + batch.num_rows <= count:
                vectors = array.read(at, batch.num_rows)
                yield Chunk(first + at, vectors, **_texts(batch, self.columns, rows.path, first + at))
            at += batch.num_rows
        if at != count:
            raise BadSource(f"{array.path} has {count:,} vectors, but {rows.path} has {at:,} rows; they must be equal")


class TableSource(Source):
    """Tables with a column of vectors, or with a column for each number."""

    def __init__(self, path: Path, tables: Sequence[TableFile], columns: Columns) -> None:
        self.path, self._tables = path, tables
        self._wide = tables[0].wide(columns)
        self.columns = columns.of_rows([each for each in tables[0].types if each not in self._wide], tables[0].path)
        self.field = self._wide[0]
        self.dim, self.dtype = 0, "float64"
        for each in self._batches():
            self.dim, self.dtype = each[1].shape[1], each[1].dtype.name
            break
        if not self.dim:
            raise BadSource(f"{path} has no rows with a vector")

    @property
    def rows(self) -> None:
        return None

    def chunks(self) -> Iterator[Chunk]:
        for first, vectors, batch, path in self._batches():
            yield Chunk(first, vectors, **_texts(batch, self.columns, path, first))

    def _batches(self) -> Iterator[tuple[int, NDArray[Any], pa.RecordBatch, Path]]:
        first = 0
        for table in self._tables:
            for batch in _pieces(table.batches(self.columns.texts, self._wide)):
                vectors = _vectors(batch, self._wide, self.dim, first, table.path)
                yield first, vectors, batch, table.path
                first += batch.num_rows


def _pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches that have rows, cut into pieces of at most ROWS rows."""
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS)


def _vectors(batch: pa.RecordBatch, wide: Sequence[str], dim: int, first: int, path: Path) -> NDArray[Any]:
    """Return the vectors of a batch, (n, d). Raises BadVectors with the row of the first one of another length."""
    if len(wide) > 1:
        columns = [pc.cast(batch.column(name), pa.float64()) for name in wide]
        return np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)
    column: Any = batch.column(wide[0])
    if not hasattr(column.type, "value_type") or not pa.types.is_floating(column.type.value_type):
        raise BadSource(f"{path}: column {wide[0]!r} has the type {column.type}; vectors are lists of floats")
    if column.null_count:
        row = first + pc.index(column.is_null(), pa.scalar(True)).as_py()
        raise BadVectors(f"{path}: row {row:,} has no vector")
    if pa.types.is_fixed_size_list(column.type):
        return matrix_view(column) if not column.flatten().null_count else _filled(column, column.type.list_size)
    lengths = pc.list_value_length(column).to_numpy()
    dim = dim or int(lengths[0])
    other = np.flatnonzero(lengths != dim)
    if other.size or not dim:
        row = int(other[0]) if other.size else 0
        raise BadVectors(f"{path}: row {first + row:,} has {lengths[row]:,} numbers, the first vector has {dim:,}")
    return _filled(column, dim)


def _filled(column: Any, dim: int) -> NDArray[Any]:
    """Return the numbers of a list column (n, dim). A missing number becomes NaN."""
    values: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, dim)


def _texts(batch: pa.RecordBatch, columns: Columns, path: Path, first: int) -> dict[str, Any]:
    """Return ids, labels and splits of a batch, as `Chunk` takes them. Raises BadSource for a row without an id."""

    def values(name: str | None) -> list[Any] | None:
        return None if name is None else batch.column(name).to_pylist()

    ids = values(columns.ids)
    if ids is None:
        ids = [f"{path.name}#{first + i}" for i in range(batch.num_rows)]
    for i, id_ in enumerate(ids):
        if id_ is None or id_ == "":
            raise BadSource(f"{path}: row {first + i:,} has no {columns.ids}; every row needs one")
    return {"ids": [str(id_) for id_ in ids], "labels": values(columns.labels), "splits": values(columns.splits)}
