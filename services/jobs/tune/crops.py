"""Random crops of training images. A crop depends on the seed, the epoch and the image, on nothing else."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.spec import ImagePreprocessing

_LEAST_RATIO, _GREATEST_RATIO = 3 / 4, 4 / 3
"""Least and greatest ratio of width to height of a crop."""
_TRIES = 10
"""Crops that are drawn until one is inside the image."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge in pixels."""


def random_crop(
    image: Image.Image, preprocessing: ImagePreprocessing, least: float, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a random part of an RGB image, resized to a square and perhaps mirrored, (size, size, 3).

    The usual random resized crop (GoogLeNet, arXiv 1409.4842, §6), with a mirror image in half of the cases.

    Args:
        least: least share of the image's area.
    """
    box = _box(image.size, least, random)
    side = (preprocessing.size, preprocessing.size)
    pixels = np.asarray(image.resize(side, Image.Resampling[preprocessing.interpolation.upper()], box=box))
    return np.ascontiguousarray(pixels[:, ::-1] if random.random() < 0.5 else pixels)


def _box(size: tuple[int, int], least: float, random: np.random.Generator) -> Box:
    """Draw a part of an image of this width and height; the middle of it if no drawn part fits into the image."""
    width, height = size
    for _ in range(_TRIES):
        area = width * height * random.uniform(least, 1)
        ratio = math.exp(random.uniform(math.log(_LEAST_RATIO), math.log(_GREATEST_RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = (int(random.integers(0, spare + 1)) for spare in (width - w, height - h))
            return left, top, left + w, top + h
    w, h = min(width, round(height * _GREATEST_RATIO)), min(height, round(width / _LEAST_RATIO))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def random_of(seed: int, epoch: int, id_: str) -> np.random.Generator:
    """Return the random numbers of one image in one epoch.

    Args:
        id_: id of the asset, hex digits.
    """
    return np.random.default_rng([seed, epoch, int(id_[:16], 16)])
