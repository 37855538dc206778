"""JPEGs made from photos that scikit-learn contains: random crops and colours, encoded anew, no two alike."""

import io
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZES = {"640×480": (640, 480), "1920×1080": (1920, 1080)}


@cache
def _originals() -> list[NDArray[np.uint8]]:
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def photo(seed: int, width: int, height: int) -> bytes:
    """Return one JPEG of that size in pixels. Quality is 75 to 95, and colour subsampling varies."""
    random = np.random.default_rng(seed)
    original = _originals()[seed % len(_originals())]
    scale = random.uniform(0.5, 1.0)
    high, wide = (round(scale * side) for side in original.shape[:2])
    top, left = random.integers(0, original.shape[0] - high + 1), random.integers(0, original.shape[1] - wide + 1)
    crop = Image.fromarray(original[top : top + high, left : left + wide]).resize((width, height), Image.BICUBIC)
    pixels = np.asarray(crop, np.float32) * random.uniform(0.85, 1.15, 3).astype(np.float32)
    pixels += random.normal(0, 2, pixels.shape).astype(np.float32)  # the grain that upscaling lacks
    out = io.BytesIO()
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    picture.save(out, "JPEG", quality=int(random.integers(75, 96)), subsampling=int(random.integers(0, 3)))
    return out.getvalue()


def photos(count: int, size: str, first: int = 0) -> list[bytes]:
    """Return `count` JPEGs of a size in `SIZES`, made on all cores. `first` is the seed of the first one."""
    width, height = SIZES[size]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(photo, range(first, first + count), _same(width), _same(height), chunksize=8))


def _same(value: int) -> Iterator[int]:
    while True:
        yield value
