"""Decoding of images, and their preparation: turns bytes into the square of pixels that a network takes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from embedder.errors import BadImage
from embedder.media import patches, tiff
from embedder.media.formats import check_size, guarded, open_header
from embedder.media.guard import Reserve, reserve_nothing
from embedder.spec import ImagePreprocessing, PlanePreprocessing

DEFAULT_MAX_PIXELS = 64_000_000
"""Largest image that is decoded, pixels; most cameras make smaller ones. It takes 0.5 GB of memory while it is decoded.

For WebP and AVIF it is half of it, because their codecs need twice the memory.
"""
DEFAULT_MAX_SIDE = 65_535
"""Longest side of an image, pixels: as much as a JPEG can have."""

_ALPHA_BYTES = 6
"""Memory for each pixel of an image with transparency, beside that of every image: the white page, and the alpha
channel."""

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
_PLAIN_MODES = {"1", "L", "P", "RGBX", "CMYK", "YCbCr"}
_WHITE_IS_ZERO = 0


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Facts from the header of an image file. `width` and `height` are pixels of the upright image."""

    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright image in mode RGB, its pixels in memory."""

    image: Image.Image
    media_type: str


def decode(
    data: bytes,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_side: int = DEFAULT_MAX_SIDE,
    short_side: int | None = None,
    even: bool = True,
    reserve: Reserve = reserve_nothing,
) -> DecodedImage:
    """Return the image in a file's bytes; the first image of an animation or a multi-page file.

    Colour profiles are not applied, because the networks were trained without them.

    Args:
        max_pixels, max_side: larger images are refused before any pixel is decoded.
        short_side: a short side (pixels) that is enough. A larger JPEG is decoded at an eighth, a quarter or a half of
            its size, the smallest that keeps this short side; the codec then skips the higher frequencies.
        even: do so only if both sides can be divided evenly. A picture to look at needs no such care.
        reserve: asked for the memory before any pixel is decoded.

    Raises BadImage, and nothing else, for bytes that give no image. Many threads may call it at once.
    """
    with guarded():
        image, found = open_header(data)
        check_size(image, found, max_pixels, max_side)
        if short_side:
            _scale(image, short_side, even=even)
        reserve(image.width * image.height * (found.pixel_bytes + _ALPHA_BYTES * image.has_transparency_data))
        image.load()
        return DecodedImage(_transpose(to_rgb(image), _orientation(image)), found.media_type)


def inspect(data: bytes) -> ImageInfo:
    """Return media type and upright size, from the header alone. Raises BadImage."""
    with guarded():
        image, found = open_header(data)
        # Pillow already gives the upright size of a TIFF.
        turned = not isinstance(image, TiffImageFile) and _orientation(image) >= 5
        width, height = reversed(image.size) if turned else image.size
        return ImageInfo(found.media_type, width, height)


def _scale(image: Image.Image, short_side: int, *, even: bool) -> None:
    """Make the codec decode at a fraction of the size, if it can: only JPEG's does.

    With `even`, both sides must be divisible. Otherwise the last pixel covers less than the others, so the centre crop
    moves, which changes vectors more than the rest of the scaling does.
    """
    width, height = image.size
    for part in (8, 4, 2):
        divides = not even or width % part == height % part == 0
        if divides and min(width, height) // part >= short_side:
            image.draft(None, (width // part, height // part))
            return


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none or it cannot be read."""
    # Without the first check, Pillow would decode a PNG's pixels to look for EXIF after them.
    if "exif" not in image.info or not tiff.is_modest(image.info["exif"]):
        return 1
    try:
        found = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # an image with broken metadata is still an image
        return 1
    return found if found in _UPRIGHT else 1


def _transpose(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_UPRIGHT[orientation])


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image in mode RGB. Raises BadImage if there is no one right conversion."""
    if image.mode.startswith("I"):
        return Image.fromarray(_grey_to_8_bit(image)).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    if image.mode == "RGB":
        return image  # `convert` would copy it
    if image.mode in _PLAIN_MODES:
        return image.convert("RGB")
    raise BadImage(
        "unsupported",
        f"pixels of Pillow's mode {image.mode!r} have no one right 8-bit image (which value is white?); "
        "convert the file to 8- or 16-bit grey or RGB",
    )


def _over_white(image: Image.Image) -> Image.Image:
    """Return the image on a white page.

    Without the alpha channel, transparent parts would show whatever colour they hold: often black, sometimes a whole
    hidden image.
    """
    if image.mode == "La":  # Pillow converts premultiplied grey only to LA
        image = image.convert("LA")
    colours = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(colours, mask=colours.getchannel("A"))
    return page


def _grey_to_8_bit(image: Image.Image) -> NDArray[np.uint8]:
    """Return the high byte of 16-bit grey, as Pillow does for 16-bit RGB. Its own `convert` would clip at 255."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise BadImage(
            "unsupported",
            f"grey values from {low} to {high}; 0 to 65535 (16 bit) is supported; scale them to 8 or 16 bits",
        )
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    shift = 4 if tags.get(258) == (12,) else 8  # TIFF: BitsPerSample
    grey = (values >> shift).astype(np.uint8)
    if tags.get(262) == _WHITE_IS_ZERO:  # TIFF: PhotometricInterpretation, which Pillow applies at 8 bits only
        np.invert(grey, out=grey)
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 255
    return grey


def fit(image: Image.Image, p: ImagePreprocessing) -> NDArray[np.uint8]:
    """Resize an image to `p.resize` as `p.crop` says and cut out the centre: (size, size, 3) uint8.

    With crop ``patches`` it keeps its shape, and is cut into patches: see `embedder.media.patches.fit_patches`.

    The pixels equal those of torchvision's `Resize` and `CenterCrop` on a Pillow image, rounding included. Only pixels
    that are kept are computed, so extreme aspect ratios take no extra memory. If `p.size` is larger than the resized
    image, the rest is black, as in torchvision.

    Raises ValueError for an image that is not RGB and for unknown settings.
    """
    if image.mode != "RGB":
        raise ValueError(f"fit takes RGB images, got mode {image.mode!r}; use decode or image.convert('RGB')")
    if p.interpolation not in _INTERPOLATION or p.crop not in (*_OFFSET, patches.CROP):
        raise ValueError(
            f"interpolation {p.interpolation!r}, crop {p.crop!r}; known: {', '.join(_INTERPOLATION)}; "
            f"{', '.join(_OFFSET)}, {patches.CROP}"
        )
    if p.patches is not None:
        return patches.fit_patches(image, p.size, p.patches, _INTERPOLATION[p.interpolation])
    x, y = axes(image.size, p)
    kept = np.asarray(_resized(image, x, y, _INTERPOLATION[p.interpolation]))
    if x.kept == y.kept == p.size:
        return kept.copy()
    pixels = np.zeros((p.size, p.size, 3), np.uint8)
    pixels[y.pad : y.pad + y.kept, x.pad : x.pad + x.kept] = kept
    return pixels


def axes(size: tuple[int, int], p: ImagePreprocessing) -> "tuple[Axis, Axis]":
    """Return the axes x and y of the crop that `fit` cuts out of an image of this width and height."""
    short = min(size)
    sides = (p.resize if p.crop == "squash" else p.resize * length // short for length in size)
    x, y = (Axis.of(length, resized, p.size, _OFFSET[p.crop]) for length, resized in zip(size, sides, strict=True))
    return x, y


def fit_plane(values: NDArray[np.float32], p: PlanePreprocessing) -> NDArray[np.float32]:
    """Resize and crop a plane of one value per pixel as `fit` does: (height, width) → (size, size).

    `p.size` must not exceed `p.resize`.
    """
    image = Image.fromarray(values)
    short = min(image.size)
    x, y = (Axis.of(length, p.resize * length // short, p.size) for length in image.size)
    return np.asarray(_resized(image, x, y, _INTERPOLATION[p.interpolation]))


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the crop: `pad` black pixels, then `kept` pixels from the source positions `start` to `stop`."""

    length: int
    start: float
    stop: float
    kept: int
    pad: int

    @classmethod
    def of(cls, length: int, resized: int, size: int, whole: Callable[[float], int] = round) -> Self:
        """Return the axis for a source side of `length` pixels. `whole` rounds the start of the centre to a pixel."""
        kept = min(size, resized)
        offset = whole((resized - kept) / 2)
        scale = length / resized
        return cls(length, offset * scale, min((offset + kept) * scale, length), kept, (size - kept) // 2)

    def reach(self) -> tuple[int, int]:
        """Return the range of source pixels that the widest filter needs (Lanczos: 3 pixels of the coarser grid)."""
        margin = 3 * max((self.stop - self.start) / self.kept, 1.0) + 1
        return max(0, math.floor(self.start - margin)), min(self.length, math.ceil(self.stop + margin))


def _resized(image: Image.Image, x: Axis, y: Axis, how: Image.Resampling) -> Image.Image:
    """Resize columns, then rows, in two calls, because the order of the passes changes the rounding between them.

    One call with `box` would use the order that is cheaper for the box. It depends on Pillow's version, and from Pillow
    13 it differs from the order for the whole image.
    """
    top, bottom = y.reach()
    if (top, bottom) != (0, y.length):
        image = image.crop((0, top, x.length, bottom))
    wide = image.resize((x.kept, bottom - top), how, box=(x.start, 0, x.stop, bottom - top))
    return wide.resize((x.kept, y.kept), how, box=(0, y.start - top, x.kept, y.stop - top))
