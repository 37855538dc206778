"""From a file's bytes to what an encoder prepares, whatever the modality: one door for all of them."""

import math
from dataclasses import dataclass

from PIL import Image

from embedder.errors import BadMedia
from embedder.media import arrays, audio, image, video
from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound
from embedder.media.formats import READ, describe, sniff
from embedder.media.video import Video
from embedder.spec import Modality

Media = Image.Image | Sound | Plane | Motion | Video
"""A decoded asset. Pictures are upright RGB."""

KNOWN = f"{READ}, {audio.READ}, or {video.READ}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is decoded of one file.

    Attributes:
        max_pixels: of a picture, plane or frame.
        max_seconds: of a sound or video.
        scale_jpegs: whether large JPEGs may be decoded at a fraction of their size, see `embedder.probe.jpeg_side`.
    """

    max_pixels: int = image.DEFAULT_MAX_PIXELS
    max_seconds: float = audio.DEFAULT_MAX_SECONDS
    scale_jpegs: bool = True


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a header tells. `width` and `height` in pixels, upright, of what has them; `seconds` of what lasts."""

    modality: Modality
    media_type: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None


def modality_of(media: Media) -> Modality:
    if isinstance(media, Image.Image):
        return "image"
    if isinstance(media, Sound):
        return "audio"
    if isinstance(media, Video):
        return "video"
    return media.modality if isinstance(media, Plane) else "imu"


def guess(data: bytes) -> Modality:
    """image, audio or video, by the first bytes: no other format says what it is of. An animation is an image.

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
            raise BadMedia("empty", f"the file is empty (0 bytes); send {KNOWN}") from None
        hint = "say what it is: depth, thermal or imu" if arrays.is_npy(data) else f"send {KNOWN}"
        raise BadMedia(
            "unknown_format", f"neither a picture nor a sound nor a video: {describe(data)}; {hint}"
        ) from None
    return "image"


def decode(
    data: bytes, modality: Modality | None = None, limits: Limits = DEFAULT_LIMITS, short_side: int | None = None
) -> Media:
    """What is in a file's bytes.

    Args:
        modality: what it is to be read as; None for `guess`.
        short_side: pixels that are enough of a picture, see `embedder.media.image.decode`.

    Raises BadMedia, and nothing else, for bytes that give none. Safe in many threads at once.
    """
    modality = modality or guess(data)
    if modality == "image":
        return image.decode(data, max_pixels=limits.max_pixels, short_side=short_side).image
    if modality == "audio":
        return audio.decode(data, max_seconds=limits.max_seconds)
    if modality == "imu":
        return arrays.motion(data)
    if modality == "video":
        return video.decode(data, max_pixels=limits.max_pixels, max_seconds=limits.max_seconds)
    return arrays.plane(data, modality, max_pixels=limits.max_pixels)


def inspect(data: bytes, modality: Modality | None = None) -> MediaInfo:
    """What a file is. Pictures and sounds are judged by the header alone, the others are read. Raises BadMedia."""
    modality = modality or guess(data)
    if modality == "image":
        seen = image.inspect(data)
        return MediaInfo(modality, seen.media_type, width=seen.width, height=seen.height)
    if modality == "audio":
        heard = audio.inspect(data)
        return MediaInfo(modality, heard.media_type, seconds=heard.seconds)
    if modality == "video":
        clip = video.decode(data, max_pixels=image.DEFAULT_MAX_PIXELS, max_seconds=math.inf)
        return MediaInfo(modality, clip.media_type, clip.width, clip.height, clip.seconds)
    found = decode(data, modality)
    if isinstance(found, Plane):
        height, width = found.values.shape
        kind = "application/x-npy" if arrays.is_npy(data) else sniff(data).media_type
        return MediaInfo(modality, kind, width=width, height=height)
    return MediaInfo(modality, "application/x-npy" if arrays.is_npy(data) else "text/csv")
