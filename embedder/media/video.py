"""Decoding of videos: turns bytes into frames. A frame is decoded when it is needed, so long videos cost no memory.

`embedder.media.animation` reads animated GIF, WebP, PNG and AVIF. PyAV (FFmpeg), which the extra `imagebind` installs,
reads MP4, MOV and WebM.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from embedder.errors import BadMedia, BadVideo
from embedder.media import animation
from embedder.media.animation import MOST_FRAMES, USUAL_SECONDS, ReadFrames, too_many_frames
from embedder.media.boxes import check_samples
from embedder.media.guard import DEFAULT_MAX_DECODE_SECONDS, Effort, Reserve, confined, reserve_nothing
from embedder.media.image import DEFAULT_MAX_SIDE

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

R = TypeVar("R")

READ = "MP4, MOV or WebM"
_BRANDS = (b"iso", b"mp4", b"avc1", b"qt  ", b"M4V", b"MSNV", b"dash", b"3g", b"f4v", b"mmp4")
_MATROSKA = b"\x1aE\xdf\xa3"


_PIXEL_BYTES = 16
"""Memory for each pixel of a frame: the frame and those that the codec refers to, and twice as RGB."""
_ROWS = 128
"""Rows of a frame that are copied at once."""


@dataclass(frozen=True, slots=True)
class Video:
    """A video whose frames are not decoded yet.

    Attributes:
        count: number of frames, at least 1.
        rate: frames a second, on average.
        width, height: pixels of a frame.
        read: see `embedder.media.animation.ReadFrames`.
    """

    count: int
    rate: float
    width: int
    height: int
    media_type: str
    read: ReadFrames

    @property
    def seconds(self) -> float:
        """Duration in seconds: `count` / `rate`."""
        return self.count / self.rate

    def frames(self, indices: Sequence[int], use: Callable[[Image.Image], R]) -> list[R]:
        """Decode the frames of these numbers (0 ≤ i < count, in any order, repeated or not), RGB.

        Args:
            use: takes a frame and returns what is kept of it. So one frame at a time is in memory.

        Raises BadMedia.
        """
        with confined(BadVideo):
            found = {index: use(image) for index, image in self.read(sorted(set(indices)))}
        return [found[index] for index in indices]


def is_video(data: bytes) -> bool:
    """True if the first bytes are those of a video container. No image and no sound has them."""
    return _container(data) is not None


def _container(data: bytes) -> tuple[str, str] | None:
    """Return FFmpeg's name of the container, and its media type; None for another format."""
    if data[4:8] == b"ftyp" and data[8:12].startswith(_BRANDS):  # AVIF and HEIC images have other brands
        return "mov", "video/quicktime" if data[8:12] == b"qt  " else "video/mp4"
    if data.startswith(_MATROSKA):
        return "matroska", "video/webm" if b"webm" in data[:64] else "video/x-matroska"
    return None


def decode(
    data: bytes,
    *,
    max_pixels: int,
    max_seconds: float,
    max_side: int = DEFAULT_MAX_SIDE,
    max_decode_seconds: float = DEFAULT_MAX_DECODE_SECONDS,
    reserve: Reserve = reserve_nothing,
) -> Video:
    """Return the video in a file's bytes. It keeps the bytes and decodes frames later; animations decode them now too.

    Raises BadMedia, and nothing else, for bytes that give no video, and for a video above `max_pixels` per frame, above
    `max_side` or above `max_seconds`.
    """
    found = _container(data)
    with confined(BadVideo):
        if found is None:
            video = Video(*animation.read(data, max_pixels, max_side, max_decode_seconds, reserve))
        else:
            video = _film(data, *found, max_pixels, max_side, max_decode_seconds)
            reserve(video.width * video.height * _PIXEL_BYTES)
    if video.seconds > max_seconds:
        raise BadVideo(
            "too_long",
            f"the video is too long: {video.seconds:.1f} s, at most {max_seconds:g} s are decoded; cut it",
            "max_seconds",
        )
    return video


def _check_size(width: int, height: int, max_pixels: int, max_side: int) -> None:
    if max(width, height) > max_side:
        raise BadVideo(
            "too_many_pixels", f"frames of {width} × {height} pixels; a side may have {max_side:,}", "max_side"
        )
    if width * height > max_pixels:
        raise BadVideo(
            "too_many_pixels",
            f"frames of {width} × {height} pixels; at most {max_pixels:,} are decoded; scale it down",
            "max_pixels",
        )


def _film(
    data: bytes, container: str, media_type: str, max_pixels: int, max_side: int, max_decode_seconds: float
) -> Video:
    if (size := _promised(data, container)) > len(data):
        raise BadVideo("truncated", f"the video has {len(data):,} of {size:,} bytes; replace it with a whole copy")
    if container == "mov":
        check_samples(data)
    with _opened(data, container, max_pixels) as (file, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        _check_size(width, height, max_pixels, max_side)
        times, starts = _times(file, stream)
        if not times or width * height == 0:
            raise BadVideo("empty", "the video has no frames")
        rate = float(stream.average_rate or 0) or 1 / USUAL_SECONDS
    source = data, container, max_pixels
    return Video(
        *(len(times), rate, width, height, media_type),
        lambda wanted: _decoded(source, [times[index] for index in wanted], starts, wanted, Effort(max_decode_seconds)),
    )


def _promised(data: bytes, container: str) -> int:
    """Return the size of the whole file (bytes) by its headers: FFmpeg would silently read part of a cut file."""
    if container == "matroska":
        start, size = _element(data, 4)
        start, size = _element(data, start + size + 4)
        return start + size
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:  # a longer number follows
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0 means up to the end; FFmpeg judges other, damaged sizes
            return len(data)
        at += size
    return at


def _element(data: bytes, at: int) -> tuple[int, int]:
    """Return the start of an EBML element's content, whose size field is at `at`, and the size; 0 if it is open."""
    length = 9 - data[at].bit_length() if at < len(data) else 1
    size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return at + length, 0 if size == (1 << 7 * length) - 1 else size


@contextmanager
def _opened(data: bytes, container: str, max_pixels: int) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """Open the file and its first video stream. Only this container's reader runs: others may open other files."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise BadVideo(
            "unsupported",
            f"{READ} needs PyAV, which is not installed: pip install 'headwater[imagebind]'; animated GIF and "
            "WebP need nothing",
        ) from error
    try:
        with av.open(BytesIO(data), "r", format=container) as file:
            if not file.streams.video:
                raise BadVideo("unsupported", "the file holds no images, perhaps only sound")
            stream = file.streams.video[0]
            if stream.codec_context is None:
                raise BadVideo("unsupported", "the codec of the video is unknown; save it as H.264 or VP9")
            stream.codec_context.options = {"max_pixels": str(max_pixels)}  # the header may state another size
            yield file, stream
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, BadMedia):
            raise
        raise BadVideo("truncated", "the video is cut off or damaged; replace it with a whole copy") from error


def _times(file: "InputContainer", stream: "VideoStream") -> tuple[list[int], list[int]]:
    """Return the times of all frames and of the frames where decoding can start, in the stream's unit, from headers."""
    shown = (
        (packet.pts, packet.is_keyframe)
        for packet in file.demux(stream)
        if packet.pts is not None and packet.size and not packet.is_discard
    )
    packets = list(islice(shown, MOST_FRAMES + 1))
    if len(packets) > MOST_FRAMES:
        raise too_many_frames()
    return sorted(pts for pts, _ in packets), sorted(pts for pts, is_start in packets if is_start)


def _decoded(
    source: tuple[bytes, str, int],
    times: Sequence[int],
    starts: Sequence[int],
    wanted: Sequence[int],
    effort: Effort,
) -> Iterator[tuple[int, Image.Image]]:
    """Yield the frames shown at `times` (ascending). Decoding restarts at the last start before each, or continues."""
    with _opened(*source) as (file, stream):
        decoder: Iterator[Any] = iter(())
        last: Any = None
        for index, time in zip(wanted, times, strict=True):
            effort.check()
            before = bisect_right(starts, time)
            start = starts[before - 1] if before else times[0]
            if last is None or start > last.pts:
                file.seek(start, stream=stream)
                decoder, last = _checked(file.decode(stream), effort), None
            if last is None or last.pts < time:
                last = next((frame for frame in decoder if frame.pts is not None and frame.pts >= time), None)
            if last is None:
                raise BadVideo(
                    "truncated", f"frame {index} of the video cannot be decoded; replace it with a whole copy"
                )
            yield index, _upright(_image(last), last.rotation)


def _checked(frames: Iterator[Any], effort: Effort) -> Iterator[Any]:
    """Yield the frames while there is time."""
    for frame in frames:
        effort.check()
        yield frame


def _image(frame: "VideoFrame") -> Image.Image:
    """Return a frame as RGB. PyAV's `to_image` copies all of it at once, which holds the interpreter."""
    plane = frame.reformat(format="rgb24").planes[0]
    rows, stride = np.frombuffer(memoryview(plane), np.uint8), abs(plane.line_size)
    image = Image.new("RGB", (plane.width, plane.height))
    for top in range(0, plane.height, _ROWS):
        height = min(_ROWS, plane.height - top)
        band = rows[top * stride : (top + height) * stride]
        image.paste(Image.frombuffer("RGB", (plane.width, height), band, "raw", "RGB", stride, 1), (0, top))
    return image


def _upright(image: Image.Image, degrees: int) -> Image.Image:
    return image.rotate(degrees, expand=True) if degrees else image
