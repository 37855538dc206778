"""Decoding of animated GIF, WebP, PNG and AVIF, with Pillow."""

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

from PIL import Image

from embedder.errors import BadVideo
from embedder.media.formats import check_size, guarded, sniff
from embedder.media.guard import Effort, Reserve
from embedder.media.image import to_rgb

ReadFrames = Callable[[Sequence[int]], Iterator[tuple[int, Image.Image]]]
"""Decodes frames one after the other: sorted, distinct numbers → each number with its image."""

MOST_FRAMES = 100_000
"""Most frames of a video. Their times are read one by one in Python."""
MOST_DRAWN = 2_000_000_000
"""Most pixels of all frames of an animation together: every frame has to be drawn to show the last."""
_LEAST_SECONDS = 0.02
USUAL_SECONDS = 0.1
"""A frame whose duration is below `_LEAST_SECONDS` is shown for `USUAL_SECONDS`, as browsers do."""


def read(
    data: bytes, max_pixels: int, max_side: int, max_decode_seconds: float, reserve: Reserve
) -> tuple[int, float, int, int, str, ReadFrames]:
    """Return the attributes of an animation's `Video`, in order. All frames are decoded once, to find damage.

    Raises BadImage and BadVideo.
    """
    with guarded():
        found = sniff(data)
        if found.check_animation is None:
            raise _one_image()
        data = found.check_animation(data)
        image = found.codec(BytesIO(data))
        check_size(image, found, max_pixels, max_side)
        reserve(image.width * image.height * 2 * found.pixel_bytes)  # the frame before is kept too
        count = getattr(image, "n_frames", 1)
        if count < 2:
            raise _one_image()
        if count > MOST_FRAMES:
            raise too_many_frames()
        if count * image.width * image.height > MOST_DRAWN:
            raise BadVideo("too_many_pixels", f"{count:,} frames of {image.width} × {image.height} pixels; cut it")
        effort = Effort(max_decode_seconds)
        seconds = sum(_shown(image, index, effort) for index in range(count))
    return (
        count,
        count / seconds,
        *image.size,
        found.media_type,
        lambda wanted: _drawn(data, wanted, max_decode_seconds),
    )


def _one_image() -> BadVideo:
    return BadVideo("unsupported", "the file holds one image, not a video; store it as an image")


def too_many_frames() -> BadVideo:
    return BadVideo("too_long", f"the video has more than {MOST_FRAMES:,} frames; cut it")


def _shown(image: Image.Image, index: int, effort: Effort) -> float:
    """Return how long a frame of an animation is shown, seconds."""
    effort.check()
    image.seek(index)
    image.load()
    seconds = float(image.info.get("duration") or 0) / 1000
    return seconds if seconds >= _LEAST_SECONDS else USUAL_SECONDS


def _drawn(data: bytes, wanted: Sequence[int], max_decode_seconds: float) -> Iterator[tuple[int, Image.Image]]:
    """Yield the wanted frames of an animation. Frames overlay one another, so all up to the last one are drawn."""
    effort = Effort(max_decode_seconds)
    with guarded():
        image = sniff(data).codec(BytesIO(data))
        for index in range(max(wanted) + 1):
            effort.check()
            image.seek(index)
            image.load()
            if index in wanted:
                yield index, to_rgb(image.copy())
