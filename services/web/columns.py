"""Bodies of columns: the rows of a store as arrays, one after the other. The service packs, the clients unpack.

A body is a header and the contents of the columns, see `services.web.framing`. Each column is an array of little-endian
numbers, padded with zeros to a multiple of 8 bytes, so that a reader copies nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from services.web.framing import framed, padded, unframed
from store import SPLITS

SPLIT_NAMES = ("", *SPLITS)
"""The names of the codes in the column `split`; 0 is no split."""


class ColumnKind(NamedTuple):
    """The parameter of a request that a column needs, None for none, and the least bytes of each row."""

    needs: str | None
    width: int


COLUMNS: Mapping[str, ColumnKind] = {
    "id": ColumnKind(None, 32),
    "modality": ColumnKind(None, 1),
    "label": ColumnKind("task", 4),
    "labels_end": ColumnKind("task", 4),
    "labels_flat": ColumnKind("task", 4),
    "split": ColumnKind("task", 1),
    "vector": ColumnKind("encoder", 1),
    "x": ColumnKind("encoder", 4),
    "y": ColumnKind("encoder", 4),
    "prediction": ColumnKind("head", 4),
    "probability": ColumnKind("head", 4),
    "margin": ColumnKind("head", 4),
    "outlier": ColumnKind("head", 4),
    "set_size": ColumnKind("head", 2),
    "predictions_end": ColumnKind("head", 4),
    "predictions_flat": ColumnKind("head", 4),
}
"""Every column, in the order of an answer."""

PIECE = 256 * 2**10
"""Bytes that are sent at a time."""

Columns = Mapping[str, NDArray[Any]]


class ColumnInfo(BaseModel):
    """One column of a body.

    Attributes:
        dtype: NumPy's name of the type of its numbers, such as "float32".
        bytes: size without padding.
        offset: first byte, counted from the first byte of the first column.
    """

    name: str
    dtype: str
    bytes: int = Field(ge=0)
    offset: int = Field(ge=0)


class AxesInfo(BaseModel):
    """The axes of `x` and `y`: their kind, and the share that each explains; see docs/http.md."""

    kind: str
    explained: tuple[float, float]


class RowsInfo(BaseModel):
    """What the header says besides the columns.

    Attributes:
        rows: number of rows n.
        version: digest of the ids in this order.
        labels, modalities: the names of the codes in the columns.
        head, encoder: `name@version` of the head and name of the encoder of the columns; None without one.
    """

    rows: int = Field(ge=0)
    version: str
    labels: list[str]
    modalities: list[str]
    head: str | None
    encoder: str | None
    axes: AxesInfo | None


class _Header(RowsInfo):
    columns: list[ColumnInfo]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a store as NumPy arrays. Codes are positions in `info.labels`, `info.modalities` and `SPLIT_NAMES`.

    Attributes:
        columns: name → array. `id` is uint8 (n, 32). `labels_flat` and `predictions_flat` have the codes of all rows,
            row after row; those of row i end at `labels_end[i]` and `predictions_end[i]`. All others are (n,).
    """

    info: RowsInfo
    columns: Columns

    def __len__(self) -> int:
        return self.info.rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    @property
    def ids(self) -> list[str]:
        """The ids of the assets as text. KeyError without the column `id`."""
        return [row.tobytes().hex() for row in self.columns["id"]]

    def names(self, column: str) -> list[str | None]:
        """Return the label of each row by its code in `column` (`label` or `prediction`); None for a row without."""
        return [self.info.labels[code] if code >= 0 else None for code in self.columns[column].tolist()]


class PackedRows:
    """A body that is sent in pieces, so that the arrays are not copied as a whole.

    Attributes:
        nbytes: length of the body.
    """

    def __init__(self, info: RowsInfo, columns: Columns) -> None:
        self._arrays = [_little(array) for array in columns.values()]
        described, offset = [], 0
        for name, array in zip(columns, self._arrays, strict=True):
            described.append(ColumnInfo(name=name, dtype=array.dtype.name, bytes=array.nbytes, offset=offset))
            offset += padded(array.nbytes)
        self._head = framed({**info.model_dump(mode="json"), "columns": [each.model_dump() for each in described]})
        self.nbytes = len(self._head) + offset

    def pieces(self) -> Iterator[bytes]:
        """Yield the body, at most `PIECE` bytes at a time."""
        for array in (np.frombuffer(self._head, np.uint8), *self._arrays):
            content = array.reshape(-1).view(np.uint8)
            for start in range(0, len(content), PIECE):
                yield content[start : start + PIECE].tobytes()
            if gap := padded(len(content)) - len(content):
                yield bytes(gap)


def unpack_rows(body: bytes) -> Rows:
    """Return the rows in a body. The arrays are read-only views of it. Raises ValueError for other bytes."""
    found, contents = unframed(body)
    try:
        header = _Header.model_validate(found)
        columns = {each.name: _array(contents, each) for each in header.columns}
    except (ValidationError, TypeError) as error:
        raise ValueError(f"its header cannot be read: {error}") from error
    for name, array in columns.items():
        if not name.endswith("_flat") and len(array) != header.rows:
            raise ValueError(f"column {name} has {len(array)} rows, and its header says {header.rows}")
    return Rows(RowsInfo(**header.model_dump(exclude={"columns"})), columns)


def _array(contents: memoryview, column: ColumnInfo) -> NDArray[Any]:
    if column.offset + column.bytes > len(contents):
        raise ValueError(f"column {column.name} is not whole")
    dtype = np.dtype(column.dtype).newbyteorder("<")
    found = np.frombuffer(contents, dtype, column.bytes // dtype.itemsize, column.offset)
    return found.reshape(-1, 32) if column.name == "id" else found


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
