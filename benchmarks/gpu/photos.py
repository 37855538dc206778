"""JPEGs made from photos that scikit-learn contains: windows into larger versions, recoloured, no two alike."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import islice, repeat
from pathlib import Path
from tempfile import gettempdir

import numpy as np
from PIL import Image

SIZES = {"640×480": (640, 480), "1920×1080": (1920, 1080)}
CANVASES = 6
"""Number of large pictures of which the photos are parts."""


@cache
def _canvas(number: int, width: int, height: int) -> Image.Image:
    """Return a picture of twice the size: a crop of a photo, magnified, with the grain that magnifying loses."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(number)
    originals = load_sample_images().images
    original = originals[number % len(originals)]
    scale = random.uniform(0.6, 1.0)
    high, wide = (round(scale * side) for side in original.shape[:2])
    top, left = random.integers(0, original.shape[0] - high + 1), random.integers(0, original.shape[1] - wide + 1)
    crop = Image.fromarray(original[top : top + high, left : left + wide])
    pixels = np.asarray(crop.resize((2 * width, 2 * height), Image.Resampling.BICUBIC), np.float32)
    pixels = pixels + random.normal(0, 3, pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def photo(seed: int, width: int, height: int) -> bytes:
    """Return one JPEG of that size in pixels. Quality is 75 to 95, and colour subsampling varies."""
    random = np.random.default_rng(seed)
    left, top = int(random.integers(0, width + 1)), int(random.integers(0, height + 1))
    picture = _canvas(seed % CANVASES, width, height).crop((left, top, left + width, top + height))
    curves = [np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8) for gain in random.uniform(0.8, 1.2, 3)]
    out = io.BytesIO()
    picture = picture.point(np.concatenate(curves).tolist())
    picture.save(out, "JPEG", quality=int(random.integers(75, 96)), subsampling=int(random.integers(0, 3)))
    return out.getvalue()


def photos(count: int, size: str) -> list[bytes]:
    """Return the first `count` JPEGs of a size in `SIZES`. They are made once, on all cores, and kept in a file."""
    kept = Path(gettempdir()) / f"headwater-gpu-photos-{size}.jpegs"
    if not kept.exists() or len(made := [*islice(_read(kept), count)]) < count:
        with ProcessPoolExecutor() as pool:
            width, height = SIZES[size]
            made = list(pool.map(photo, range(count), repeat(width), repeat(height), chunksize=16))
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(b"".join(len(data).to_bytes(4, "big") + data for data in made))
        os.replace(fresh, kept)
    return made


def _read(kept: Path) -> Iterator[bytes]:
    with kept.open("rb") as file:
        while head := file.read(4):
            yield file.read(int.from_bytes(head, "big"))
