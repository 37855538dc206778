"""A fixed batch that shows whether an encoder still gives the vectors that are stored.

The spec says what an encoder should be; the probe says what it is. Reference vectors (fp32, torch, CPU) are kept
with each table, and every process that writes to or queries it compares its own. Wrong weights, another
activation, other preprocessing, swapped channels and a precision that is too coarse all end as a low cosine.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ProbeMismatch

if TYPE_CHECKING:
    from embedder.encoder import Encoder

REVISION = 1
"""Raise it with any change to the images or texts: stored reference vectors then no longer apply."""

TEXTS: tuple[str, ...] = (
    "a photo of a small brown dog on the grass",
    "solar cell",
    "An aerial view of a harbour at night, with 3 red ships; long exposure.",
)

_SIZES = ((317, 251), (203, 391), (429, 287), (61, 47), (331, 331))
IMAGES = len(_SIZES)
"""How many rows of a probe are images: the first ones. The rest are texts."""
_MIX = np.array([[1.0, 1.0, 1.0], [0.5, 0.0, -0.5], [0.25, -0.5, 0.25]])
"""Brightness, and two colour differences of half its strength, as red, green and blue."""


def images() -> list[Image.Image]:
    """Five RGB pictures of odd sizes, before preprocessing.

    Noise whose amplitude falls as 1/f, as in photographs (Field 1987), mostly in brightness, under discs and
    rectangles that overlap with hard edges. Flat or purely random pixels would not do: they lie where networks react
    to nothing, so that precision looks bad and real faults look small.
    """
    return [_picture(width, height, seed) for seed, (width, height) in enumerate(_SIZES, start=5)]


def _picture(width: int, height: int, seed: int) -> Image.Image:
    random = np.random.RandomState(seed)  # the one generator whose numbers NumPy promises never to change
    total = np.zeros((height, width, 3))
    cells = 3
    while cells < max(width, height):
        total += np.stack([_noise(random, cells, width, height) for _ in range(3)], axis=2) / cells
        cells *= 2
    total = total @ _MIX
    total /= total.std()
    for _ in range(40):
        y, x, radius = random.randint(height), random.randint(width), random.randint(4, 8 + height // 4)
        _draw(total, y, x, radius, is_disc=bool(random.randint(2)), colour=random.uniform(-1.5, 1.5, 3) @ _MIX)
    return Image.fromarray(np.clip(120 + 60 * total, 0, 255).astype(np.uint8))


def _draw(
    picture: NDArray[np.float64], y: int, x: int, radius: int, *, is_disc: bool, colour: NDArray[np.float64]
) -> None:
    """A half-transparent disc or square around (y, x), in place."""
    top, left = max(y - radius, 0), max(x - radius, 0)
    part = picture[top : y + radius, left : x + radius]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2 if is_disc else np.full(part.shape[:2], True)
    part[inside] = 0.5 * part[inside] + colour


def _noise(random: np.random.RandomState, cells: int, width: int, height: int) -> NDArray[np.float32]:
    lattice = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(lattice).resize((width, height), Image.Resampling.BICUBIC))


def embed(encoder: "Encoder") -> NDArray[np.float32]:
    """(m, d): the vectors of `images()`, then of `TEXTS` when the encoder takes text."""
    vectors = encoder.embed(np.stack([encoder.prepare(image) for image in images()])).vectors
    if encoder.spec.text is None:
        return vectors
    return np.concatenate([vectors, encoder.embed_texts(TEXTS)])


def check(encoder: "Encoder", reference: NDArray[np.float32], *, least_cosine: float = 0.999) -> float:
    """Compare `encoder` with reference vectors (m, d); the worst cosine. Raises ProbeMismatch below `least_cosine`."""
    found = embed(encoder)
    if found.shape != reference.shape:
        raise ProbeMismatch(
            f"{encoder.name} on {encoder.backend} gives a probe of shape {found.shape}, stored is {reference.shape}: "
            f"another encoder or another revision of the probe; re-embed into a new table"
        )
    cosines = _cosines(found, reference)
    worst = int(np.argmin(cosines))
    if not cosines[worst] >= least_cosine:
        raise ProbeMismatch(
            f"{encoder.name} on {encoder.backend} does not give the stored vectors: {_items()[worst]} has cosine "
            f"{cosines[worst]:.4f}, needed is {least_cosine}. If only the backend changed, its precision is too "
            f"coarse: use backend torch-fp32 or openvino-fp32. Otherwise weights, activation or preprocessing differ "
            f"from those that made the table: restore them, or re-embed into a new table"
        )
    return float(cosines[worst])


def _items() -> Sequence[str]:
    return [f"image {i} ({w}×{h})" for i, (w, h) in enumerate(_SIZES)] + [f"text {text!r}" for text in TEXTS]


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row. What is not finite or has no length counts as −1, the worst."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        cosines = (x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return np.where(np.isfinite(cosines), cosines, -1.0)
