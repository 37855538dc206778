"""From the bytes of a file to the square of pixels that a network takes. NumPy and Pillow only."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from embedder.errors import BadImage
from embedder.media.formats import guarded, open_header
from embedder.spec import ImagePreprocessing, PlanePreprocessing

DEFAULT_MAX_PIXELS = 64_000_000
"""Largest picture that is decoded, above most cameras. It takes 0.4 GB of memory; as WebP 1 GB (measured)."""

_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_OFFSET: dict[str, Callable[[float], int]] = {"centre": round, "squash": round, "centre-floor": math.floor}
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PLAIN_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
_WHITE_IS_ZERO = 0


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of an image file tells. `width` and `height` in pixels, as seen upright."""

    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture in mode RGB, upright, its pixels in memory."""

    image: Image.Image
    media_type: str


def decode(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, short_side: int | None = None) -> DecodedImage:
    """The picture in a file's bytes; of an animation or a multi-page file, the first.

    Colour profiles are not applied: the networks were trained on pixels read that way.

    Args:
        short_side: pixels that are enough. A JPEG of more is decoded at an eighth, a quarter or a half of its size, the
            first that leaves so many: the codec does without the frequencies that are not needed.

    Raises BadImage, and nothing else, for bytes that give no picture; over `max_pixels` before any pixel is
    decoded. Safe in many threads at once.
    """
    with guarded():
        image, media_type = open_header(data)
        _check_size(image, max_pixels)
        if short_side:
            _scale(image, short_side)
        image.load()
        return DecodedImage(_transpose(to_rgb(image), _orientation(image)), media_type)


def inspect(data: bytes) -> ImageInfo:
    """Media type and upright size, from the header alone. Raises BadImage."""
    with guarded():
        image, media_type = open_header(data)
        # Pillow gives the upright size of a TIFF from the start.
        turned = not isinstance(image, TiffImageFile) and _orientation(image) >= 5
        width, height = reversed(image.size) if turned else image.size
        return ImageInfo(media_type, width, height)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise BadImage(
            "too_many_pixels",
            f"{width} × {height} = {width * height:,} pixels; at most {max_pixels:,} are read; scale it down",
        )


def _scale(image: Image.Image, short_side: int) -> None:
    """Have the codec decode at a fraction of the size, if it can: of the seven, JPEG's alone.

    By whole pixels only. Where a side is no multiple, the last pixel stands for less than the others: what is cut out
    of the middle then moves, and vectors with it, more than by all that scaling does else.
    """
    width, height = image.size
    for part in (8, 4, 2):
        if width % part == height % part == 0 and min(width, height) // part >= short_side:
            image.draft(None, (width // part, height // part))
            return


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or it cannot be read."""
    if "exif" not in image.info:  # without this, Pillow decodes a PNG's pixels to look behind them
        return 1
    try:
        found = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata does not spoil a sound picture
        return 1
    return found if found in _UPRIGHT else 1


def _transpose(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_UPRIGHT[orientation])


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded picture in mode RGB. Raises BadImage where that has no one right meaning."""
    if image.mode.startswith("I"):
        return Image.fromarray(_grey_to_8_bit(image)).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    if image.mode in _PLAIN_MODES:
        return image.convert("RGB")
    raise BadImage(
        "unsupported",
        f"pixels of Pillow's mode {image.mode!r} have no one right 8-bit picture (which value is white?); "
        "convert the file to 8- or 16-bit grey or RGB",
    )


def _over_white(image: Image.Image) -> Image.Image:
    """What is transparent becomes white, as on the page that the picture was cut out for.

    Dropping the alpha channel instead would show whatever colour happens to lie under the transparent parts:
    often black, at times a whole other picture that nobody sees.
    """
    if image.mode == "La":  # Pillow converts premultiplied grey to nothing but LA
        image = image.convert("LA")
    colours = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(colours, mask=colours.getchannel("A"))
    return page


def _grey_to_8_bit(image: Image.Image) -> NDArray[np.uint8]:
    """The high byte of 16-bit grey, as Pillow does with 16-bit RGB; its own `convert` would clip at 255."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise BadImage(
            "unsupported",
            f"grey values from {low} to {high}; 0 to 65535 (16 bit) is read; scale them to 8 or 16 bits",
        )
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    shift = 4 if tags.get(258) == (12,) else 8  # TIFF: BitsPerSample
    grey = (values >> shift).astype(np.uint8)
    if tags.get(262) == _WHITE_IS_ZERO:  # TIFF: PhotometricInterpretation, which Pillow heeds at 8 bits only
        np.invert(grey, out=grey)
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 255
    return grey


def fit(image: Image.Image, p: ImagePreprocessing) -> NDArray[np.uint8]:
    """Resized to `p.resize` as `p.crop` says, then the centre `p.size` × `p.size`: (size, size, 3) uint8.

    Equal to torchvision's `Resize` and `CenterCrop` on a Pillow image, rounding included, but only the pixels
    that are kept are computed, so extreme aspect ratios cost no memory. Where `p.size` is larger than the
    resized image, the rest is black, as there.

    Raises ValueError for an image that is not RGB and for settings it does not know.
    """
    if image.mode != "RGB":
        raise ValueError(f"fit takes RGB images, got mode {image.mode!r}; use decode or image.convert('RGB')")
    if p.interpolation not in _INTERPOLATION or p.crop not in _OFFSET:
        raise ValueError(
            f"interpolation {p.interpolation!r}, crop {p.crop!r}; known: {', '.join(_INTERPOLATION)}; "
            f"{', '.join(_OFFSET)}"
        )
    short = min(image.size)
    sides = (p.resize if p.crop == "squash" else p.resize * length // short for length in image.size)
    whole = _OFFSET[p.crop]
    x, y = (_Axis.of(length, resized, p.size, whole) for length, resized in zip(image.size, sides, strict=True))
    kept = np.asarray(_resized(image, x, y, _INTERPOLATION[p.interpolation]))
    if x.kept == y.kept == p.size:
        return kept.copy()
    pixels = np.zeros((p.size, p.size, 3), np.uint8)
    pixels[y.pad : y.pad + y.kept, x.pad : x.pad + x.kept] = kept
    return pixels


def fit_plane(values: NDArray[np.float32], p: PlanePreprocessing) -> NDArray[np.float32]:
    """As `fit`, of one value a pixel, for `p.size` ≤ `p.resize`: (height, width) → (size, size)."""
    image = Image.fromarray(values)
    short = min(image.size)
    x, y = (_Axis.of(length, p.resize * length // short, p.size) for length in image.size)
    return np.asarray(_resized(image, x, y, _INTERPOLATION[p.interpolation]))


@dataclass(frozen=True, slots=True)
class _Axis:
    """One side: `kept` output pixels from source positions `start` to `stop`, behind `pad` black ones."""

    length: int
    start: float
    stop: float
    kept: int
    pad: int

    @classmethod
    def of(cls, length: int, resized: int, size: int, whole: Callable[[float], int] = round) -> Self:
        """`whole` makes whole pixels of where the centre begins."""
        kept = min(size, resized)
        offset = whole((resized - kept) / 2)
        scale = length / resized
        return cls(length, offset * scale, min((offset + kept) * scale, length), kept, (size - kept) // 2)

    def reach(self) -> tuple[int, int]:
        """Source pixels that the widest filter (Lanczos, 3 pixels of the coarser grid) needs: from, to."""
        margin = 3 * max((self.stop - self.start) / self.kept, 1.0) + 1
        return max(0, math.floor(self.start - margin)), min(self.length, math.ceil(self.stop + margin))


def _resized(image: Image.Image, x: _Axis, y: _Axis, how: Image.Resampling) -> Image.Image:
    """Rows first, then columns: two calls, because the order changes the rounding between the two passes.

    One call with `box` would take the order that Pillow finds cheaper for that box: by version, and from
    Pillow 13 not the order it takes for the whole picture.
    """
    top, bottom = y.reach()
    if (top, bottom) != (0, y.length):
        image = image.crop((0, top, x.length, bottom))
    wide = image.resize((x.kept, bottom - top), how, box=(x.start, 0, x.stop, bottom - top))
    return wide.resize((x.kept, y.kept), how, box=(0, y.start - top, x.kept, y.stop - top))
