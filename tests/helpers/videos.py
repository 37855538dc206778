"""Generated videos."""

import io

import av
import numpy as np
from PIL import Image

ANIMATIONS = {"GIF": {}, "WEBP": {"lossless": True}, "PNG": {}, "AVIF": {"quality": 100}}
FILMS = {"mp4": "libx264", "mov": "mpeg4", "webm": "libvpx-vp9", "matroska": "libx265"}


def frames(count: int, width: int = 64, height: int = 48) -> list[Image.Image]:
    """Return grey images that grow lighter to the right and with time, in few enough shades for a GIF."""
    shades = np.add.outer(3 * np.arange(count), np.arange(width) // 8 * 8)[:, None, :, None]
    pixels = np.broadcast_to(shades % 256, (count, height, width, 3)).astype(np.uint8)
    return [Image.fromarray(each) for each in pixels]


def animation(form: str, count: int, milliseconds: int | list[int] = 100, **size: int) -> bytes:
    first, *rest = frames(count, **size)
    out = io.BytesIO()
    first.save(out, form, save_all=True, append_images=rest, duration=milliseconds, loop=0, **ANIMATIONS[form])
    return out.getvalue()


def film(container: str, count: int, rate: int = 10, group: int = 8, width: int = 64, height: int = 48) -> bytes:
    """Return a film whose frames are stored in another order than shown, with a key frame every `group` frames."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(FILMS[container], rate=rate, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = group
        stream.codec_context.max_b_frames = 2
        for frame in frames(count, width, height):
            file.mux(stream.encode(av.VideoFrame.from_image(frame)))
        file.mux(stream.encode())
    return out.getvalue()
