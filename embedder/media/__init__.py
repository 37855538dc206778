"""Decoding: turns the bytes of a file into an asset of any modality."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from embedder.errors import BadMedia
from embedder.media import arrays, audio, image, video
from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound
from embedder.media.formats import READ, describe, sniff
from embedder.media.guard import DEFAULT_MAX_DECODE_SECONDS, Reserve, confined, reserve_nothing
from embedder.media.room import DEFAULT_MAX_DECODE_BYTES
from embedder.media.video import Video
from embedder.spec import Modality

Media = Image.Image | Sound | Plane | Motion | Video
"""A decoded asset. An image is upright and in mode RGB."""

KNOWN = f"images ({READ}), sounds ({audio.READ}), videos ({video.READ})"

JpegsOnGpu = Literal["auto", "on", "off"]
"""Use of the GPU for JPEGs: where it was measured to be faster, always, or never. ``auto`` and ``on`` use it only if
the encoder's vectors stay the same."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one file.

    Attributes:
        max_pixels: most pixels of an image, plane or frame.
        max_side: most pixels along one side of an image, plane or frame.
        max_seconds: longest sound or video, seconds.
        max_samples: most samples of a sound, all channels together.
        max_decode_seconds: most processor time that the decoding of one sound or video takes, seconds.
        max_decode_bytes: most memory of the files that a program decodes at once, bytes.
        scale_jpegs: True allows large JPEGs to be decoded at a fraction of their size, see `embedder.probe.jpeg_side`.
        jpegs_on_gpu: where JPEGs are decoded for an encoder on a GPU, see `JpegsOnGpu`.
    """

    max_pixels: int = image.DEFAULT_MAX_PIXELS
    max_seconds: float = audio.DEFAULT_MAX_SECONDS
    scale_jpegs: bool = True
    max_side: int = image.DEFAULT_MAX_SIDE
    max_samples: int = audio.DEFAULT_MAX_SAMPLES
    max_decode_seconds: float = DEFAULT_MAX_DECODE_SECONDS
    max_decode_bytes: int = DEFAULT_MAX_DECODE_BYTES
    jpegs_on_gpu: JpegsOnGpu = "auto"


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Facts about a file.

    Attributes:
        width, height: pixels of the upright image, plane or frame; None for other modalities.
        seconds: duration of a sound or video; None for other modalities.
    """

    modality: Modality
    media_type: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None


def modality_of(media: Media) -> Modality:
    """Return the modality of a decoded asset."""
    if isinstance(media, Image.Image):
        return "image"
    if isinstance(media, Sound):
        return "audio"
    if isinstance(media, Video):
        return "video"
    return media.modality if isinstance(media, Plane) else "imu"


def guess(data: bytes) -> Modality:
    """Return image, audio or video, judged by the first bytes. An animation counts as an image.

    Formats of other modalities do not say which modality they hold.

    Raises BadMedia ("empty", "unknown_format").
    """
    if audio.is_sound(data):
        return "audio"
    if video.is_video(data):
        return "video"
    try:
        sniff(data)
    except BadMedia as error:
        if error.reason == "empty":
            raise BadMedia("empty", "the file is empty") from None
        if arrays.is_npy(data):
            message = "an NPY array does not say what it holds. Name its modality: depth, thermal or imu"
        else:
            message = f"not a supported image, sound or video{describe(data)}. Supported: {KNOWN}"
        raise BadMedia("unknown_format", message) from None
    return "image"


def decode(
    data: bytes,
    modality: Modality | None = None,
    limits: Limits = DEFAULT_LIMITS,
    short_side: int | None = None,
    reserve: Reserve = reserve_nothing,
) -> Media:
    """Return the asset in a file's bytes.

    Args:
        modality: the modality to read it as; None for `guess`.
        short_side: short side (pixels) that is enough of an image, see `embedder.media.image.decode`.
        reserve: asked for the memory that the file needs until it is prepared.

    Raises BadMedia, and no other exception, for bytes that give no asset. Many threads may call it at once.
    """
    with confined():
        return _decode(data, modality or guess(data), limits, short_side, reserve)


def _decode(data: bytes, modality: Modality, limits: Limits, short_side: int | None, reserve: Reserve) -> Media:
    size: dict[str, Any] = {"max_pixels": limits.max_pixels, "max_side": limits.max_side}
    if modality == "image":
        return image.decode(data, **size, short_side=short_side, reserve=reserve).image
    if modality == "audio":
        return audio.decode(
            data,
            max_seconds=limits.max_seconds,
            max_samples=limits.max_samples,
            max_decode_seconds=limits.max_decode_seconds,
            reserve=reserve,
        )
    if modality == "imu":
        return arrays.motion(data, reserve=reserve)
    if modality == "video":
        return video.decode(
            data,
            **size,
            max_seconds=limits.max_seconds,
            max_decode_seconds=limits.max_decode_seconds,
            reserve=reserve,
        )
    return arrays.plane(data, modality, **size, reserve=reserve)


def inspect(data: bytes, modality: Modality | None = None) -> MediaInfo:
    """Return facts about a file. Images and sounds are judged by the header alone, others are read.

    Raises BadMedia, and no other exception, for bytes that give no asset.
    """
    with confined():
        return _inspect(data, modality or guess(data))


def _inspect(data: bytes, modality: Modality) -> MediaInfo:
    if modality == "image":
        found_image = image.inspect(data)
        return MediaInfo(modality, found_image.media_type, width=found_image.width, height=found_image.height)
    if modality == "audio":
        sound = audio.inspect(data)
        return MediaInfo(modality, sound.media_type, seconds=sound.seconds)
    if modality == "video":
        film = video.decode(data, max_pixels=image.DEFAULT_MAX_PIXELS, max_seconds=math.inf)
        return MediaInfo(modality, film.media_type, film.width, film.height, film.seconds)
    found = decode(data, modality)
    if isinstance(found, Plane):
        height, width = found.values.shape
        media_type = "application/x-npy" if arrays.is_npy(data) else sniff(data).media_type
        return MediaInfo(modality, media_type, width=width, height=height)
    return MediaInfo(modality, "application/x-npy" if arrays.is_npy(data) else "text/csv")
