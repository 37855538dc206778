"""Pillow's resizing as matrices: one axis of an image is resized by a product with the matrix of its filter.

Pillow's `src/libImaging/Resample.c` defines the numbers: position and width of a filter, and the rounding of its
weights. So products, rounded to whole levels after each axis, equal Pillow's pixels but for ties.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _bilinear(x: Floats) -> Floats:
    return np.where(np.abs(x) < 1, 1 - np.abs(x), 0)


def _bicubic(x: Floats) -> Floats:
    """Return Keys's cubic (1981) with a = −0.5."""
    a, x = -0.5, np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: Floats) -> Floats:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS: dict[str, tuple[float, Callable[[Floats], Floats]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
}
"""Half the width of each filter in pixels of the coarser grid, and the filter, by interpolation."""

_PRECISION = 2.0**22
"""Pillow rounds weights to this part of one."""


@dataclass(frozen=True, slots=True)
class Band:
    """The part of a filter's matrix that is not zero, for one axis.

    Attributes:
        first: position of the first source pixel that counts.
        columns: (kept, taps) int64, positions counted from `first`. Positions beyond the last have weight 0.
        weights: (kept, taps) float32. The `kept` pixels are the sums of weights × source pixels along `taps`.
        length: number of source pixels that count.
    """

    first: int
    columns: NDArray[np.int64]
    weights: NDArray[np.float32]
    length: int


def band(length: int, start: float, stop: float, kept: int, interpolation: str) -> Band:
    """Return the weights of `kept` pixels that stand for the positions from `start` to `stop` of `length` pixels."""
    half, kernel = FILTERS[interpolation]
    begin, end = np.float32(start), np.float32(stop)  # Pillow keeps them so
    scale = float(end - begin) / kept
    wide = max(scale, 1.0)
    centres = float(begin) + (np.arange(kept) + 0.5) * scale
    low = np.maximum((centres - half * wide + 0.5).astype(np.int64), 0)
    high = np.minimum((centres + half * wide + 0.5).astype(np.int64), length)
    positions = low[:, None] + np.arange((high - low).max())
    weights = kernel((positions + 0.5 - centres[:, None]) / wide) * (positions < high[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    first, last = int(low.min()), int(high.max())
    columns = np.minimum(positions, last - 1) - first
    return Band(first, columns, (np.floor(weights * _PRECISION + 0.5) / _PRECISION).astype(np.float32), last - first)
