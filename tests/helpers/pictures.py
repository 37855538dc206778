"""Generated images."""

import io

import numpy as np
from PIL import Image


def photo(seed: int, width: int = 96, height: int = 64, form: str = "PNG") -> bytes:
    """Return a small image of random colour patches, different for every seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC).save(out, form)
    return out.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()
