"""From the bytes of a video to frames, each decoded when it is asked for: a long video takes no more memory.

Animated GIF, WebP, PNG and AVIF are read by Pillow's codecs, MP4, MOV and WebM by PyAV (FFmpeg), which the extra
`imagebind` brings.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from embedder.errors import BadVideo
from embedder.media.formats import guarded, sniff
from embedder.media.image import to_rgb

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

READ = "MP4, MOV or WebM"
MOST_DRAWN = 2_000_000_000
"""Pixels of all frames of an animation together: every frame has to be drawn to show the last."""
_LEAST_SECONDS = 0.02
_USUAL_SECONDS = 0.1
"""What is shown for less than the first is shown for the second: browsers do so, and so animations are made."""

_BRANDS = (b"iso", b"mp4", b"avc1", b"qt  ", b"M4V", b"MSNV", b"dash", b"3g", b"f4v", b"mmp4")
_MATROSKA = b"\x1aE\xdf\xa3"


@dataclass(frozen=True, slots=True)
class Video:
    """A video: `count` ≥ 1 frames of `width` × `height`, `rate` a second on average. `frames` decodes."""

    count: int
    rate: float
    width: int
    height: int
    media_type: str
    read: Callable[[Sequence[int]], dict[int, Image.Image]]

    @property
    def seconds(self) -> float:
        return self.count / self.rate

    def frames(self, indices: Sequence[int]) -> list[Image.Image]:
        """The frames of these numbers (0 ≤ i < count, in any order, repeated or not), RGB. Raises BadMedia."""
        found = self.read(sorted(set(indices)))
        return [found[index] for index in indices]


def is_video(data: bytes) -> bool:
    """Whether the first bytes are those of a container of videos: no picture or sound has them."""
    return _container(data) is not None


def _container(data: bytes) -> tuple[str, str] | None:
    """FFmpeg's name of the container, and its media type."""
    if data[4:8] == b"ftyp" and data[8:12].startswith(_BRANDS):  # AVIF and HEIC pictures have other brands
        return "mov", "video/quicktime" if data[8:12] == b"qt  " else "video/mp4"
    if data.startswith(_MATROSKA):
        return "matroska", "video/webm" if b"webm" in data[:64] else "video/x-matroska"
    return None


def decode(data: bytes, *, max_pixels: int, max_seconds: float) -> Video:
    """The video in a file's bytes, which it keeps. No frame is decoded yet, but of an animation.

    Raises BadMedia, and nothing else, for bytes that give no video: over `max_pixels` a frame or `max_seconds` too.
    """
    found = _container(data)
    clip = _animation(data, max_pixels) if found is None else _film(data, *found, max_pixels)
    if clip.seconds > max_seconds:
        raise BadVideo("too_long", f"the video lasts {clip.seconds:.1f} s; cut it, or raise HEADWATER_MAX_SECONDS")
    return clip


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadVideo("too_many_pixels", f"frames of {width} × {height} pixels; at most {max_pixels:,} are read")


def _animation(data: bytes, max_pixels: int) -> Video:
    with guarded():
        found = sniff(data)
        image = found.codec(BytesIO(data))
        _check_size(image.width, image.height, max_pixels)
        count = getattr(image, "n_frames", 1)
        if count < 2 or found.media_type == "image/tiff":
            raise BadVideo("unsupported", "one picture is no video; store it as an image")
        if count * image.width * image.height > MOST_DRAWN:
            raise BadVideo("too_many_pixels", f"{count:,} frames of {image.width} × {image.height} pixels; cut it")
        seconds = sum(_shown(image, index) for index in range(count))
    return Video(
        count, count / seconds, image.width, image.height, found.media_type, lambda wanted: _drawn(data, wanted)
    )


def _shown(image: Image.Image, index: int) -> float:
    """Seconds."""
    image.seek(index)
    image.load()
    seconds = float(image.info.get("duration") or 0) / 1000
    return seconds if seconds >= _LEAST_SECONDS else _USUAL_SECONDS


def _drawn(data: bytes, wanted: Sequence[int]) -> dict[int, Image.Image]:
    """Frames are drawn over one another, so all up to the last one that is wanted."""
    frames = {}
    with guarded():
        image = sniff(data).codec(BytesIO(data))
        for index in range(max(wanted) + 1):
            image.seek(index)
            image.load()
            if index in wanted:
                frames[index] = to_rgb(image.copy())
    return frames


def _film(data: bytes, container: str, media_type: str, max_pixels: int) -> Video:
    if (size := _promised(data, container)) > len(data):
        raise BadVideo("truncated", f"the video has {len(data):,} of {size:,} bytes; send the whole file")
    with _opened(data, container, max_pixels) as (file, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        _check_size(width, height, max_pixels)
        times, starts = _times(file, stream)
        if not times or width * height == 0:
            raise BadVideo("empty", "the video has no frames; send one that lasts")
        rate = float(stream.average_rate or 0) or 1 / _USUAL_SECONDS
    source = data, container, max_pixels
    return Video(
        *(len(times), rate, width, height, media_type),
        lambda wanted: _decoded(source, [times[index] for index in wanted], starts, wanted),
    )


def _promised(data: bytes, container: str) -> int:
    """Bytes of the whole file, by its headers: FFmpeg shows what there is of one that is cut off, and tells nobody."""
    if container == "matroska":
        start, size = _element(data, 4)
        start, size = _element(data, start + size + 4)
        return start + size
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:  # a longer number follows
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: up to the end; the rest is damage, which FFmpeg judges
            return len(data)
        at += size
    return at


def _element(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of an EBML element begins whose size stands at `at`, and that size; 0 for one that is open."""
    length = 9 - data[at].bit_length() if at < len(data) else 1
    size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return at + length, 0 if size == (1 << 7 * length) - 1 else size


@contextmanager
def _opened(data: bytes, container: str, max_pixels: int) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """The file and its first video stream. Only this container's reader runs: some others would open other files."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise BadVideo(
            "unsupported",
            f"{READ} is read by PyAV, which is not installed: pip install 'headwater[imagebind]'; or send an animated "
            "GIF or WebP",
        ) from error
    try:
        with av.open(BytesIO(data), "r", format=container) as file:
            if not file.streams.video:
                raise BadVideo("unsupported", "the file has no pictures in it, perhaps sound alone; send a video")
            stream = file.streams.video[0]
            if stream.codec_context is None:
                raise BadVideo("unsupported", "the pictures of the video are of no known kind; save it as H.264 or VP9")
            stream.codec_context.options = {"max_pixels": str(max_pixels)}  # headers may lie about what is inside
            yield file, stream
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, BadVideo):
            raise
        raise BadVideo("truncated", f"the video is cut off or damaged ({error}); send the whole file again") from error


def _times(file: "InputContainer", stream: "VideoStream") -> tuple[list[int], list[int]]:
    """When each frame is shown, in the stream's unit, and where decoding can begin: from headers, nothing decoded."""
    packets = [
        (packet.pts, packet.is_keyframe)
        for packet in file.demux(stream)
        if packet.pts is not None and packet.size and not packet.is_discard
    ]
    return sorted(pts for pts, _ in packets), sorted(pts for pts, is_start in packets if is_start)


def _decoded(
    source: tuple[bytes, str, int], times: Sequence[int], starts: Sequence[int], wanted: Sequence[int]
) -> dict[int, Image.Image]:
    """The frames shown at `times` (rising), decoded from the last start before each, or on from the one before."""
    frames = {}
    with _opened(*source) as (file, stream):
        decoder: Iterator[Any] = iter(())
        last: Any = None
        for index, time in zip(wanted, times, strict=True):
            start = max((start for start in starts if start <= time), default=times[0])
            if last is None or start > last.pts:
                file.seek(start, stream=stream)
                decoder, last = file.decode(stream), None
            if last is None or last.pts < time:
                last = next((frame for frame in decoder if frame.pts is not None and frame.pts >= time), None)
            if last is None:
                raise BadVideo("truncated", f"frame {index} of the video can't be decoded; send the whole file again")
            frames[index] = _upright(last.to_image(), last.rotation)
    return frames


def _upright(picture: Image.Image, degrees: int) -> Image.Image:
    return picture.rotate(degrees, expand=True) if degrees else picture
