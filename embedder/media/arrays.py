"""Decoding of depth maps, thermal images and motion: turns the bytes of a file into float32 measurements."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import BadArray
from embedder.media.formats import check_size, guarded, open_header
from embedder.media.guard import Reserve, confined, reserve_nothing

CHANNELS = 6
"""Columns of motion: acceleration along three axes, then rotation about them."""
MOST_SAMPLES = 1_000_000
"""Most samples of motion: more than an hour at 200 Hz."""
_ROWS = 4_096
_VALUE_BYTES = 16
"""Memory for each value: as it is in the file, and twice as float32."""
_NPY = b"\x93NUMPY"


@dataclass(frozen=True, slots=True)
class Plane:
    """A depth map or a thermal image.

    Attributes:
        values: float32 (height, width), in the unit of the file.
        bits: bits of the file's integers, 8, 16 or more; None if the file holds floats.
    """

    modality: Literal["depth", "thermal"]
    values: NDArray[np.float32]
    bits: int | None = None


@dataclass(frozen=True, slots=True)
class Motion:
    """Measurements of an inertial unit: `values` float32 (samples, 6), in the units of the file."""

    values: NDArray[np.float32]


def is_npy(data: bytes) -> bool:
    """True if the first bytes are those of NumPy's NPY format."""
    return data.startswith(_NPY)


def plane(
    data: bytes,
    modality: Literal["depth", "thermal"],
    *,
    max_pixels: int,
    max_side: int,
    reserve: Reserve = reserve_nothing,
) -> Plane:
    """Read NPY (height, width) or (height, width, 1), or a grey image of 8 or 16 bits. Raises BadMedia."""
    if is_npy(data):
        values = _npy(data, max_pixels, reserve)
        if values.ndim == 3 and values.shape[2] == 1:
            values = values[:, :, 0]
        if max(values.shape) > max_side:
            raise BadArray(
                "too_many_pixels",
                f"an array of shape {values.shape}; a side may have {max_side:,} pixels; scale it down or cut it",
                "max_side",
            )
        return _plane(modality, values)
    with guarded():
        image, found = open_header(data)
        check_size(image, found, max_pixels, max_side)
        reserve(image.width * image.height * _VALUE_BYTES)
        image.load()
        return _grey(image, modality)


def _plane(modality: Literal["depth", "thermal"], values: NDArray[Any]) -> Plane:
    bits = 8 * values.dtype.itemsize if values.dtype.kind in "iu" else None
    return Plane(modality, _checked(values, lambda shape: len(shape) == 2, "(height, width)"), bits)


def _grey(image: Image.Image, modality: Literal["depth", "thermal"]) -> Plane:
    if image.mode not in ("L", "I", "F") and not image.mode.startswith("I;16"):
        raise BadArray(
            "unsupported",
            f"a {modality} image has one value per pixel, this has Pillow's mode {image.mode!r}; save it as a grey PNG "
            "of 16 bits, or NPY (height, width)",
        )
    return _plane(modality, np.asarray(image))


def motion(data: bytes, *, reserve: Reserve = reserve_nothing) -> Motion:
    """Read NPY or CSV of six columns: three accelerations, three rotations. NPY (6, samples) is transposed.

    Raises BadArray.
    """
    values = _npy(data, MOST_SAMPLES * CHANNELS, reserve) if is_npy(data) else _csv(data)
    if values.ndim == 2 and values.shape[0] == CHANNELS != values.shape[1]:
        values = values.T
    fits = _checked(values, lambda shape: len(shape) == 2 and shape[1] == CHANNELS, f"(samples, {CHANNELS})")
    return Motion(fits)


def _npy(data: bytes, most: int, reserve: Reserve) -> NDArray[Any]:
    """Return the array of an NPY file, whose header is checked first. Raises BadArray. Nothing is unpickled."""
    stream = BytesIO(data)
    # A damaged header raises a dozen types of errors: the header is Python's text, which NumPy parses.
    with confined(BadArray):
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
    if dtype.kind not in "iuf":
        raise BadArray("unsupported", f"an NPY array of {dtype}; only int, uint and float are supported")
    size = int(np.prod(shape, dtype=object)) if shape else 1
    if not 0 < size <= most:
        reason: Literal["too_many_pixels", "empty"] = "too_many_pixels" if size else "empty"
        raise BadArray(reason, f"an NPY array of shape {shape}: {size:,} values; 1 to {most:,} are supported")
    if len(data) - stream.tell() < size * dtype.itemsize:
        raise BadArray(
            "truncated",
            f"the NPY file of shape {shape} is cut off after {len(data):,} bytes; replace it with a whole copy",
        )
    reserve(size * _VALUE_BYTES)
    return npy.read_array(BytesIO(data), allow_pickle=False)


def _csv(data: bytes) -> NDArray[Any]:
    """Read rows of numbers, with or without a header line. Raises BadArray."""
    ends = data.count(b"\n"), data.count(b"\r")
    if max(ends) > 2 * MOST_SAMPLES:  # reading so many empty lines would take seconds
        raise _too_many_rows()
    lines = 1 + sum(ends)
    if data.count(b",") > (CHANNELS - 1) * lines:
        raise BadArray("unsupported", f"the rows of the CSV must all hold {CHANNELS} numbers")
    try:
        with TextIOWrapper(BytesIO(data), "utf-8-sig", newline="") as text:
            blocks = list(_blocks(row for row in csv.reader(text) if row))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadArray("unknown_format", "the file is neither NPY nor CSV") from error
    if not blocks:
        raise BadArray("empty", f"a CSV of 0 rows of numbers; 1 to {MOST_SAMPLES:,} are supported")
    if len({block.shape[1] for block in blocks}) > 1:
        raise BadArray("unsupported", "the rows of the CSV must all hold the same count of numbers")
    return np.concatenate(blocks)


def _blocks(rows: Iterator[list[str]]) -> Iterator[NDArray[np.float64]]:
    """Yield the numbers of the rows without the header line, some thousand rows at a time. Raises BadArray."""
    first = list(islice(rows, 1))
    rows = chain(first if first and _is_number(first[0][0]) else [], rows)
    count = 0
    while block := list(islice(rows, _ROWS)):
        count += len(block)
        if count > MOST_SAMPLES:
            raise _too_many_rows()
        try:
            yield np.array(block, np.float64)
        except ValueError as error:
            raise BadArray(
                "unsupported", f"the rows of the CSV must all hold the same count of numbers: {error}"
            ) from error


def _too_many_rows() -> BadArray:
    return BadArray("too_long", f"a CSV of more than {MOST_SAMPLES:,} rows of numbers; cut it")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _checked(values: NDArray[Any], fits: Callable[[tuple[int, ...]], bool], wanted: str) -> NDArray[np.float32]:
    if not fits(values.shape):
        raise BadArray("unsupported", f"an array of shape {values.shape}; expected is {wanted}")
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    if not np.isfinite(floats).all():
        raise BadArray(
            "unsupported", "the array holds NaN, infinity or a value beyond float32; replace these values first"
        )
    return floats
