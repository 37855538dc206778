"""The probe: a fixed batch of images, sounds, texts, … that shows whether an encoder still gives the stored vectors.

The spec says what an encoder should be; the probe measures what it is. Reference vectors (fp32, torch, CPU) are stored
with each table. Every process that writes to a table or queries it compares its own vectors with them. Wrong weights,
another activation, other preprocessing, swapped channels and too coarse a precision all show as a low cosine.
"""

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from itertools import cycle, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import ProbeMismatch
from embedder.media import DEFAULT_LIMITS, Limits, Media
from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound
from embedder.media.image import decode
from embedder.media.video import Video
from embedder.spec import EncoderSpec, Modality

if TYPE_CHECKING:
    from embedder.encoder import Encoder

REVISION = 1
"""Revision of the probe. Raise it when its assets or texts change: stored reference vectors then no longer apply."""

TEXTS: tuple[str, ...] = (
    "a photo of a small brown dog on the grass",
    "solar cell",
    "An aerial view of a harbour at night, with 3 red ships; long exposure.",
)

LEAST_COSINE = 0.999
"""Least cosine between a vector and its reference vector."""

KEPT = 3
"""A JPEG is decoded at a fraction of its size only if its short side stays this many times the resized side.

3 is the least factor that keeps the vectors of images that are sharp to the pixel (`benchmarks.jpeg`).
"""

_SIZES = ((317, 251), (203, 391), (429, 287), (61, 47), (331, 331))
_SOUNDS = ((8_000, 0.4), (16_000, 3.1), (44_100, 1.7))
"""Rates (Hz) and durations (seconds) of the sounds."""
_MOTIONS = (2_000, 700)
"""Numbers of samples of the motions."""
_MIX = np.array([[1.0, 1.0, 1.0], [0.5, 0.0, -0.5], [0.25, -0.5, 0.25]])
"""Brightness and two colour differences of half its strength (rows), as red, green and blue (columns)."""


def images() -> list[Image.Image]:
    """Return five RGB images of odd sizes, before preprocessing.

    They hold noise whose amplitude falls as 1/f, as in photographs (Field 1987), mostly in brightness, under
    overlapping discs and rectangles with hard edges. Networks react little to flat or purely random pixels, which would
    exaggerate errors of precision and hide real faults.
    """
    return [_picture(width, height, seed) for seed, (width, height) in enumerate(_SIZES, start=5)]


@cache  # drawn in Python, and needed often
def _picture(width: int, height: int, seed: int) -> Image.Image:
    random = np.random.RandomState(seed)  # NumPy promises never to change the numbers of this generator
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
    """Draw a half-transparent disc or square around (y, x), in place."""
    top, left = max(y - radius, 0), max(x - radius, 0)
    part = picture[top : y + radius, left : x + radius]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2 if is_disc else np.full(part.shape[:2], True)
    part[inside] = 0.5 * part[inside] + colour


def _noise(random: np.random.RandomState, cells: int, width: int, height: int) -> NDArray[np.float32]:
    lattice = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(lattice).resize((width, height), Image.Resampling.BICUBIC))


def sounds() -> list[Sound]:
    """Return three sounds of odd rates: a rising, voice-like tone with overtones, and bursts of noise."""
    return [_sound(rate, seconds, seed) for seed, (rate, seconds) in enumerate(_SOUNDS, start=5)]


def _sound(rate: int, seconds: float, seed: int) -> Sound:
    random = np.random.RandomState(seed)
    t = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * (110 * t + 160 * t**2 / seconds)
    tone = sum(np.sin(k * phase) / k for k in range(1, 9))
    bursts = random.uniform(-1, 1, len(t)) * (np.sin(2 * np.pi * 3.3 * t) > 0.6)
    return Sound((0.2 * tone + 0.3 * bursts).astype(np.float32), rate)


def samples(modality: Modality) -> list[Media]:
    """Return the assets of the probe of one modality, before preprocessing."""
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


def _video() -> Video:
    """Return a video of four seconds: three that pan over one image from left to right, then one of another image."""
    far, near = images()[2], images()[4]
    pictures = [far.crop((8 * i, 0, 8 * i + 320, 240)) for i in range(12)] + [
        near.crop((i, 9, i + 320, 249)) for i in range(4)
    ]
    return Video(len(pictures), 4.0, 320, 240, "none", lambda wanted: ((index, pictures[index]) for index in wanted))


def assets(spec: EncoderSpec) -> int:
    """Return the number of rows of an encoder's probe that are assets. They come first; the rest are texts."""
    return sum(len(samples(modality)) for modality in spec.modalities)


def embed(encoder: "Encoder") -> NDArray[np.float32]:
    """Return vectors (m, d) of `samples` of each modality of the encoder, then of `TEXTS` if it takes text."""
    parts = []
    for modality in encoder.spec.modalities:
        prepared = np.stack([encoder.prepare(media) for media in samples(modality)])
        parts.append(encoder.embed(prepared, modality=modality).vectors)
    if encoder.spec.text is not None:
        parts.append(encoder.embed_texts(TEXTS))
    return np.concatenate(parts)


def jpeg_side(encoder: "Encoder", limits: Limits = DEFAULT_LIMITS) -> int | None:
    """Return the short side (pixels) to which large JPEGs may be decoded for `encoder`, see `media.image.decode`.

    None means whole images: if `limits` say so, if the encoder takes no images, if it keeps their shape (half the size
    may round to another grid of patches), and if an image made of the probe's images, which are sharp to the pixel,
    does not keep its vector when it is decoded at half its size.
    """
    if encoder.spec.image is None or encoder.spec.image.patches or not limits.scale_jpegs:
        return None
    side = KEPT * encoder.spec.image.resize
    page = photo(2 * side, 2 * side, quality=90)
    pixels = np.stack([encoder.prepare(decode(page, short_side=enough).image) for enough in (None, side)])
    whole, scaled = encoder.embed(pixels).vectors
    return side if cosines(whole[None], scaled[None])[0] >= LEAST_COSINE else None


@cache
def photo(width: int, height: int, first: int = 0, **saved: Any) -> bytes:
    """Return a JPEG tiled with the images of the probe, `first` the first of them, saved with options of Pillow."""
    page, file = Image.new("RGB", (width, height)), BytesIO()
    pictures, (across, down) = cycle(images()[first:] + images()[:first]), np.max(_SIZES, axis=0).tolist()
    for place in product(range(0, width, across), range(0, height, down)):
        page.paste(next(pictures), place)
    page.convert(saved.pop("mode", "RGB")).save(file, "JPEG", **saved)
    return file.getvalue()


def check(encoder: "Encoder", reference: NDArray[np.float32], *, least_cosine: float = LEAST_COSINE) -> float:
    """Compare `encoder` with reference vectors (m, d) and return the worst cosine.

    Raises ProbeMismatch if it is below `least_cosine`. If the encoder's engine has several precisions, the error names
    those that pass.
    """
    found = embed(encoder)
    if found.shape != reference.shape:
        raise ProbeMismatch(
            f"{encoder.name} on {encoder.backend} gives a probe of shape {found.shape}, stored is {reference.shape}: "
            f"it is another encoder, or the probe has another revision; re-embed into a new table"
        )
    each = cosines(found, reference)
    worst = int(np.argmin(each))
    if not each[worst] >= least_cosine:
        passing = _passing(encoder, reference, least_cosine)
        advice = (
            f"Its precision is too coarse; these precisions pass: {', '.join(passing)}. Use one of them, or name no "
            f"precision and let the engine choose"
            if passing
            else "Weights, activation or preprocessing differ from those that made the table: restore them, or "
            "re-embed into a new table. If only the backend changed, use torch-fp32"
        )
        raise ProbeMismatch(
            f"{encoder.name} on {encoder.backend} does not give the stored vectors: {_items(encoder.spec)[worst]} has "
            f"cosine {each[worst]:.4f}, needed is {least_cosine}. {advice}",
            passing,
        )
    return float(each[worst])


def _passing(encoder: "Encoder", reference: NDArray[np.float32], least_cosine: float) -> list[str]:
    """Return the other precisions of the encoder's engine whose vectors pass, fastest first."""
    from embedder.encoder import HasPrecisions

    passing = []
    for precision, make in encoder.variants().items() if isinstance(encoder, HasPrecisions) else ():
        variant = make()
        if variant.backend == encoder.backend:
            continue
        try:
            found = embed(variant)
        except RuntimeError:  # a network with an operation that this device does not have in this precision
            continue
        if found.shape == reference.shape and cosines(found, reference).min() >= least_cosine:
            passing.append(precision)
    return passing


def _items(spec: EncoderSpec) -> Sequence[str]:
    named = [f"{modality} {i}" for modality in spec.modalities for i in range(len(samples(modality)))]
    return named + [f"text {text!r}" for text in TEXTS]


def cosines(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cosine of each row of a (n, d) with the same row of b (n, d), shape (n,).

    A row that is not finite or has length 0 counts as −1, the worst.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        found = (x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return np.where(np.isfinite(found), found, -1.0)
