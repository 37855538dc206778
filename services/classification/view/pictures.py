"""Pictures of stored files of any modality, in small: photos as JPEG, drawings of sounds and measurements as PNG.

Pillow writes a JPEG several times faster than a WebP, which is much smaller for grey photos only.
"""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import BadMedia
from embedder.media import Limits, Media, audio, decode, image, video
from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound
from embedder.media.guard import Reserve, confined
from embedder.media.video import Video
from embedder.spec import Modality

JPEG, PNG, WAV = "image/jpeg", "image/png", "audio/wav"

SOUND_SECONDS = 60
"""Longest part of a sound that is sent."""

SOUND_BYTES = SOUND_SECONDS * audio.RATES[1] * 2
"""Most bytes of a sound that is sent: 16 bits for each sample, at the greatest rate."""

_QUALITY = 80
_PAPER, _INK = 244, 90
_FULL_SCALE = 32767
_COMMON = (1, 99)
"""Percentiles of the values of a plane that become black and white."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture. `width` and `height` are pixels."""

    media_type: str
    data: bytes
    width: int
    height: int


def draw(data: bytes, modality: Modality, side: int, limits: Limits, reserve: Reserve) -> Picture:
    """Return the picture of a file, upright, its long side at most `side` pixels. It is never enlarged.

    A sound is drawn as its waveform, a video as its first frame, a plane in shades of grey, motion as six curves.

    Args:
        reserve: asked for the memory that decoding needs.

    Raises BadMedia, and no other exception, for bytes that give no picture. Many threads may call it at once.
    """
    with confined():
        if modality == "image" or (modality == "video" and not video.is_video(data)):
            return _small(_first_image(data, side, limits, reserve), side)
        media = decode(data, modality, limits, reserve=reserve)
        return _drawn(media, side)


def to_wav(data: bytes, limits: Limits, reserve: Reserve) -> bytes:
    """Return the first `SOUND_SECONDS` of a sound as WAV: one channel of 16 bits, at the sound's own rate.

    Raises BadMedia, and no other exception, for bytes that give no sound.
    """
    with confined():
        sound = audio.decode(
            data,
            max_seconds=limits.max_seconds,
            max_samples=limits.max_samples,
            max_decode_seconds=limits.max_decode_seconds,
            reserve=reserve,
        )
        [samples] = sound.slices([(0, min(sound.length, SOUND_SECONDS * sound.rate))])
        file = BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, sound.rate, len(samples), "NONE", ""))
            writer.writeframes((np.clip(samples, -1, 1) * _FULL_SCALE).astype("<i2").tobytes())
        return file.getvalue()


def _first_image(data: bytes, side: int, limits: Limits, reserve: Reserve) -> Image.Image:
    """Return the only image of a file, or the first one of an animation."""
    return image.decode(
        data,
        max_pixels=limits.max_pixels,
        max_side=limits.max_side,
        short_side=side,
        even=False,
        reserve=reserve,
    ).image


def _small(full: Image.Image, side: int) -> Picture:
    """Return a photo in small. Without its metadata: they may say where it was taken."""
    full.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _encoded(full, JPEG, format="JPEG", quality=_QUALITY, exif=b"", icc_profile=None, comment=None)


def _encoded(picture: Image.Image, media_type: str, **options: Any) -> Picture:
    file = BytesIO()
    picture.save(file, **options)
    return Picture(media_type, file.getvalue(), *picture.size)


@singledispatch
def _drawn(media: Media, side: int) -> Picture:  # noqa: ARG001 - every modality has a function of its own below
    raise BadMedia("wrong_modality", "no picture is drawn of files of this modality")


@_drawn.register
def _(film: Video, side: int) -> Picture:
    [picture] = film.frames([0], lambda frame: _small(frame, side))
    return picture


@_drawn.register
def _(sound: Sound, side: int) -> Picture:
    return _curves([_envelope(sound, side)], side // 2)


@_drawn.register
def _(motion: Motion, side: int) -> Picture:
    return _curves([_envelope(Sound(channel, rate=1), side) for channel in motion.values.T], side)


@_drawn.register
def _(plane: Plane, side: int) -> Picture:
    """Return the values as shades of grey, from the lowest to the highest of the common ones."""
    step = max(1, max(plane.values.shape) // (2 * side))
    values = plane.values[::step, ::step].astype(np.float64)
    low, high = np.percentile(values, _COMMON)
    shades = np.clip((values - low) / ((high - low) or 1), 0, 1) * 255
    return _small(Image.fromarray(shades.astype(np.uint8)), side)


def _envelope(sound: Sound, columns: int) -> NDArray[np.float32]:
    """Return the least and the greatest sample of each column of a picture, float32 (2, columns)."""
    bounds = np.linspace(0, sound.length, columns + 1).astype(int)
    ranges = [(int(begin), max(int(end), int(begin) + 1)) for begin, end in pairwise(bounds)]
    return np.array([(part.min(), part.max()) for part in sound.slices(ranges)], np.float32).T


def _curves(envelopes: Sequence[NDArray[np.float32]], height: int) -> Picture:
    """Return a picture with one strip for each envelope, which is scaled to fill its strip."""
    tall = height // len(envelopes)
    rows = np.arange(tall)[:, None] - (tall - 1) / 2
    strips = []
    for low, high in envelopes:
        scale = (tall / 2 - 1) / (max(np.abs(low).max(), np.abs(high).max()) or 1)
        inside = (rows >= np.floor(-high * scale)) & (rows <= np.ceil(-low * scale))
        strips.append(np.where(inside, _INK, _PAPER).astype(np.uint8))
    return _encoded(Image.fromarray(np.concatenate(strips)), PNG, format="PNG")
