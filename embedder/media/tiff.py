"""Checks of TIFF's directory of tags, which TIFF images and EXIF data share, before Pillow reads it.

Pillow reads tags and their numbers one by one in Python, so a directory of millions would keep the interpreter busy.
"""

from struct import unpack_from

import numpy as np
from numpy.typing import NDArray

from embedder.errors import BadImage

MOST_TAGS = 1_024
MOST_NUMBERS = 150_000
"""Most numbers in all tags together. A strip takes two, and 65,535 rows have at most as many strips."""
MOST_TILE_PIXELS = 4096 * 4096
"""Largest tile, pixels: a tile is decoded whole, even if the image is smaller."""

_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_SIZES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8])
"""Bytes of a value, by TIFF's number of the type."""
_PREFIX = b"Exif\0\0"
"""Beginning of EXIF data in a JPEG. Some programs write it twice."""
_RAW = (1, 2, 6, 7)
"""Types of one byte a value, which Pillow keeps as they are."""


def check(data: bytes) -> bytes:
    """Return `data`, a TIFF file. Raises BadImage if its first directory is damaged or too large."""
    tags = _tags(data)
    if tags is None:
        raise BadImage("truncated", "the TIFF file is cut off or damaged; replace it with a whole copy")
    if not _is_modest(tags, len(data)) or _largest(tags, _TILE_WIDTH) * _largest(tags, _TILE_HEIGHT) > MOST_TILE_PIXELS:
        raise BadImage("unsupported", "the TIFF file has too many tags, strips or pixels a tile; save it again")
    return data


def is_modest(exif: bytes) -> bool:
    """True if Pillow can read EXIF data, with or without its prefix, in little time and memory."""
    data = exif.removeprefix(_PREFIX).removeprefix(_PREFIX)
    tags = _tags(data)
    return tags is not None and _is_modest(tags, len(data))


def _tags(data: bytes) -> NDArray[np.void] | None:
    """Return the entries of the first directory with the fields tag, type, count and value; None if it is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    big = data[2:4] in (b"+\0", b"\0+")
    (start,) = unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    width, word = (8, "u8") if big else (2, "u4")
    if start + width > len(data):
        return None
    (count,) = unpack_from(order + ("Q" if big else "H"), data, start)
    entry = np.dtype([("tag", order + "u2"), ("type", order + "u2"), ("count", order + word), ("value", order + word)])
    # Pillow reads a directory that is cut off up to its end.
    count = min(count, (len(data) - start - width) // entry.itemsize)
    return np.frombuffer(data, entry, count, start + width)


def _is_modest(tags: NDArray[np.void], size: int) -> bool:
    kinds = np.where(tags["type"] < len(_SIZES), tags["type"], 0)
    counts = tags["count"].astype(np.float64)
    sizes = counts * _SIZES[kinds]
    read = (sizes > 0) & (sizes <= size)  # Pillow skips other values
    numbers = counts[read & ~np.isin(kinds, _RAW)].sum()
    return bool(len(tags) <= MOST_TAGS and numbers <= MOST_NUMBERS and sizes[read].sum() <= 4 * size)


def _largest(tags: NDArray[np.void], tag: int) -> int:
    """Return the value of a tag of one whole number, the largest if it is there twice; 0 if it is missing."""
    word = tags.dtype["value"]
    shift = 8 * word.itemsize - 16 if word.str.startswith(">") else 0  # a short number lies at the start of the field
    values = [int(value) >> shift if kind == 3 else int(value) for _, kind, _, value in tags[tags["tag"] == tag]]
    return max(values, default=0)
