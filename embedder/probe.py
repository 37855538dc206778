"""A fixed batch that shows whether an encoder still gives the vectors that are stored: pictures, sounds, texts, …

The spec says what an encoder should be; the probe says what it is. Reference vectors (fp32, torch, CPU) are kept
with each table, and every process that writes to or queries it compares its own. Wrong weights, another
activation, other preprocessing, swapped channels and a precision that is too coarse all end as a low cosine.
"""

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from itertools import cycle, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ProbeMismatch
from embedder.media import DEFAULT_LIMITS, Limits, Media
from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound
from embedder.media.image import decode
from embedder.media.video import Clip
from embedder.spec import EncoderSpec, Modality

if TYPE_CHECKING:
    from embedder.encoder import Encoder

REVISION = 1
"""Raise it with any change to what is embedded: stored reference vectors then no longer apply."""

TEXTS: tuple[str, ...] = (
    "a photo of a small brown dog on the grass",
    "solar cell",
    "An aerial view of a harbour at night, with 3 red ships; long exposure.",
)

LEAST_COSINE = 0.999
"""Between a vector and the one that it should be."""

KEPT = 3
"""A JPEG may be decoded at a fraction of its size where its short side stays so many times what it is resized to.

The least that keeps the vectors of pictures that are sharp to the pixel (`benchmarks.jpeg`).
"""

_SIZES = ((317, 251), (203, 391), (429, 287), (61, 47), (331, 331))
_SOUNDS = ((8_000, 0.4), (16_000, 3.1), (44_100, 1.7))
"""Rates (Hz) and durations (seconds) of the sounds."""
_MOTIONS = (2_000, 700)
"""Samples of the motions."""
_MIX = np.array([[1.0, 1.0, 1.0], [0.5, 0.0, -0.5], [0.25, -0.5, 0.25]])
"""Brightness, and two colour differences of half its strength, as red, green and blue."""


def images() -> list[Image.Image]:
    """Five RGB pictures of odd sizes, before preprocessing.

    Noise whose amplitude falls as 1/f, as in photographs (Field 1987), mostly in brightness, under discs and
    rectangles that overlap with hard edges. Flat or purely random pixels would not do: they lie where networks react
    to nothing, so that precision looks bad and real faults look small.
    """
    return [_picture(width, height, seed) for seed, (width, height) in enumerate(_SIZES, start=5)]


@cache  # drawn in Python, and asked for again and again
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


def sounds() -> list[Sound]:
    """Three sounds of odd rates: a voice-like tone that rises, with overtones, and bursts of noise."""
    return [_sound(rate, seconds, seed) for seed, (rate, seconds) in enumerate(_SOUNDS, start=5)]


def _sound(rate: int, seconds: float, seed: int) -> Sound:
    random = np.random.RandomState(seed)
    t = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * (110 * t + 160 * t**2 / seconds)
    tone = sum(np.sin(k * phase) / k for k in range(1, 9))
    bursts = random.uniform(-1, 1, len(t)) * (np.sin(2 * np.pi * 3.3 * t) > 0.6)
    return Sound((0.2 * tone + 0.3 * bursts).astype(np.float32), rate)


def samples(modality: Modality) -> list[Media]:
    """What a probe embeds of a modality, before preprocessing."""
    if modality == "image":
        return [*images()]
    if modality == "audio":
        return [*sounds()]
    if modality == "imu":
        walks = [np.random.RandomState(seed).uniform(-1, 1, (n, 6)).cumsum(0) for seed, n in enumerate(_MOTIONS)]
        return [Motion((walk / walk.std()).astype(np.float32)) for walk in walks]
    if modality == "video":
        return [_video()]
    return [Plane(modality, np.asarray(image.convert("L"), np.float32) / 25.5) for image in images()[:3]]


def _video() -> Clip:
    """Three seconds, over one of the pictures from left to right, then a second of another."""
    far, near = images()[2], images()[4]
    pictures = [far.crop((8 * i, 0, 8 * i + 320, 240)) for i in range(12)] + [
        near.crop((i, 9, i + 320, 249)) for i in range(4)
    ]
    return Clip(len(pictures), 4.0, 320, 240, "none", lambda wanted: {index: pictures[index] for index in wanted})


def assets(spec: EncoderSpec) -> int:
    """How many rows of an encoder's probe are assets: the first ones. The rest are texts."""
    return sum(len(samples(modality)) for modality in spec.modalities)


def embed(encoder: "Encoder") -> NDArray[np.float32]:
    """(m, d): the vectors of `samples` of each modality that the encoder takes, then of `TEXTS` if it takes text."""
    parts = []
    for modality in encoder.spec.modalities:
        prepared = np.stack([encoder.prepare(media) for media in samples(modality)])
        parts.append(encoder.embed(prepared, modality=modality).vectors)
    if encoder.spec.text is not None:
        parts.append(encoder.embed_texts(TEXTS))
    return np.concatenate(parts)


def jpeg_side(encoder: "Encoder", limits: Limits = DEFAULT_LIMITS) -> int | None:
    """The short side, in pixels, that is enough of a large JPEG for `encoder`, see `embedder.media.image.decode`.

    None where `limits` forbid it, where it takes no images, and where a page of the probe's pictures, sharp to the
    pixel, does not keep its vector when it is decoded at half its size.
    """
    if encoder.spec.image is None or not limits.scale_jpegs:
        return None
    side = KEPT * encoder.spec.image.resize
    page = _page(2 * side)
    pixels = np.stack([encoder.prepare(decode(page, short_side=enough).image) for enough in (None, side)])
    whole, scaled = encoder.embed(pixels).vectors
    return side if _cosines(whole[None], scaled[None])[0] >= LEAST_COSINE else None


@cache
def _page(side: int) -> bytes:
    """A JPEG, `side` × `side`, all over with the pictures of the probe."""
    page, file = Image.new("RGB", (side, side)), BytesIO()
    pictures, (width, height) = cycle(images()), np.max(_SIZES, axis=0).tolist()
    for place in product(range(0, side, width), range(0, side, height)):
        page.paste(next(pictures), place)
    page.save(file, "JPEG", quality=90)
    return file.getvalue()


def check(encoder: "Encoder", reference: NDArray[np.float32], *, least_cosine: float = LEAST_COSINE) -> float:
    """Compare `encoder` with reference vectors (m, d); the worst cosine. Raises ProbeMismatch below `least_cosine`."""
    found = embed(encoder)
    if found.shape != reference.shape:
        raise ProbeMismatch(
            f"{encoder.name} on {encoder.backend} gives a probe of shape {found.shape}, stored is {reference.shape}: "
            f"another encoder or another revision of the probe; re-embed into a new table"
        )
    cosines = _cosines(found, reference)
    worst = int(np.argmin(cosines))
    item = _items(encoder.spec)[worst]
    if not cosines[worst] >= least_cosine:
        raise ProbeMismatch(
            f"{encoder.name} on {encoder.backend} does not give the stored vectors: {item} has cosine "
            f"{cosines[worst]:.4f}, needed is {least_cosine}. If only the backend changed, its precision is too "
            f"coarse: use backend torch-fp32 or openvino-fp32. Otherwise weights, activation or preprocessing differ "
            f"from those that made the table: restore them, or re-embed into a new table"
        )
    return float(cosines[worst])


def _items(spec: EncoderSpec) -> Sequence[str]:
    named = [f"{modality} {i}" for modality in spec.modalities for i in range(len(samples(modality)))]
    return named + [f"text {text!r}" for text in TEXTS]


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row. What is not finite or has no length counts as −1, the worst."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        cosines = (x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return np.where(np.isfinite(cosines), cosines, -1.0)
