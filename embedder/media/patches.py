"""Images that keep their shape, as patches in a row: the input of SigLIP 2's NaFlex variants (arXiv 2502.14786).

The first of the rows has the number of rows and columns of the grid as two 16-bit numbers, low bytes first. Then come
the patches, row by row; what is left is 0.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CROP = "patches"
"""Value of `ImagePreprocessing.crop` for this preparation."""
HEADER = 4
"""Bytes of the first row that are used."""
_PRECISION = 1e-5
_MOST = 100.0
"""Precision and end of the search for the scale, as in transformers: other values would round to other grids."""


def fit_patches(image: Image.Image, size: int, most: int, how: Image.Resampling) -> NDArray[np.uint8]:
    """Resize an RGB image to `grid` and return its patches: (most + 1, 3 size²) uint8.

    The pixels equal those of transformers' Siglip2ImageProcessorPil. A patch is (size, size, 3), flattened.

    Args:
        size: side of a patch, pixels.
        most: largest number of patches.
        how: interpolation.
    """
    rows, columns = grid(image.size, size, most)
    pixels = np.asarray(image.resize((columns * size, rows * size), how))
    cells = pixels.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(rows * columns, -1)
    found = np.zeros((most + 1, cells.shape[1]), np.uint8)
    found[0, :HEADER] = np.array([rows, columns], "<u2").view(np.uint8)
    found[1 : len(cells) + 1] = cells
    return found


def grid(image: tuple[int, int], size: int, most: int) -> tuple[int, int]:
    """Return the rows and columns of patches for an image of this width and height.

    They are those of the largest scale at which the image, each side rounded up to whole patches, has at most `most`
    patches. The scale is found by halving, exactly as transformers does.
    """
    width, height = image

    def at(scale: float) -> tuple[int, int]:
        return max(1, math.ceil(height * scale / size)), max(1, math.ceil(width * scale / size))

    low, high = _PRECISION / 10, _MOST
    while high - low >= _PRECISION:
        scale = (low + high) / 2
        low, high = (scale, high) if math.prod(at(scale)) <= most else (low, scale)
    return at(low)
