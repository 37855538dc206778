"""The supported image formats, and the checks between an untrusted file and Pillow's codecs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from embedder.errors import BadImage, BadMedia
from embedder.media import containers, tiff
from embedder.media.containers import Check

PIXEL_BYTES = 8
"""Memory for each pixel while an image is decoded, converted and resized: four bytes, held twice. Costly formats need
twice as much."""

# Pillow keeps pixels in blocks of up to 16 MB. glibc keeps freed memory of that size for later, for each thread apart:
# all pixels of a large image times the threads. It gives blocks of more than 32 MB back to the system at once.
Image.core.set_block_size(64 * 2**20)  # type: ignore[attr-defined]

COSTLY_PIXELS = 32_000_000
"""Pixels of a WebP or AVIF that are decoded if the limit allows; above, the limit counts half for them."""
READ = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        codec: the one codec that may open the file.
        check: runs before the codec.
        check_animation: runs before the codec if all frames are read; None if the format has one image.
        is_costly: True if the codec needs twice the memory of others and copies all pixels under Python's lock.
    """

    media_type: str
    codec: Callable[[BytesIO], ImageFile.ImageFile]
    check: Check
    check_animation: Check | None = None
    is_costly: bool = False

    @property
    def pixel_bytes(self) -> int:
        """Memory for each pixel."""
        return PIXEL_BYTES * (1 + self.is_costly)


# Codecs are called by class, never through Image.open. So only these seven can run (Pillow also knows formats that
# start other programs), and no process-wide limit of Image.open judges the size first. A JPEG that holds several images
# (MPO) counts as its first image.
_JPEG = Format("image/jpeg", JpegImagePlugin.JpegImageFile, containers.jpeg)
_PNG = Format(
    "image/png", PngImagePlugin.PngImageFile, containers.png, check_animation=partial(containers.png, animated=True)
)
_WEBP = Format(
    "image/webp", WebPImagePlugin.WebPImageFile, containers.webp, check_animation=containers.webp, is_costly=True
)
_GIF = Format(
    "image/gif", GifImagePlugin.GifImageFile, containers.gif, check_animation=partial(containers.gif, animated=True)
)
_BMP = Format("image/bmp", BmpImagePlugin.BmpImageFile, containers.bmp)
_TIFF = Format("image/tiff", TiffImagePlugin.TiffImageFile, tiff.check)
_AVIF = Format(
    "image/avif", AvifImagePlugin.AvifImageFile, containers.avif, check_animation=containers.avif, is_costly=True
)

_SIGNATURES = (
    (b"\xff\xd8\xff", _JPEG),
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),
    (b"MM\0+", _TIFF),
)
_MAX_SCANS = 100  # encoders write 1 or about 10
_MAX_SCANNED = 20 * 64_000_000
"""Most pixels of all scans of a JPEG together."""
_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_AVIF_BRANDS = {b"avif", b"avis", b"mif1", b"msf1"}
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis"}

_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"8BPS", "a Photoshop document"),
    (b"FORM", "an AIFF sound"),
    (b"{", "JSON text"),
)


def sniff(data: bytes) -> Format:
    """Return the format that the first bytes belong to. Raises BadImage ("empty", "not_an_image")."""
    if not data:
        raise BadImage("empty", "the file is empty")
    for signature, known in _SIGNATURES:
        if data.startswith(signature):
            return known
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _WEBP
    if data[4:8] == b"ftyp" and data[8:12] in _AVIF_BRANDS:
        return _AVIF
    # Many texts begin with "BM" as well.
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return _BMP
    raise BadImage("not_an_image", f"not a supported image{describe(data)}. Supported: {READ}")


def describe(data: bytes) -> str:
    """Return ", but " and what an unsupported file is, as part of a sentence; "" if that is not known."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return ", but a HEIC image, which must be converted"
    start = data[:64].lstrip().lower()
    for prefix, what in _OTHERS:
        if start.startswith(prefix.lower()):
            return f", but {what}"
    return ""


def open_header(data: bytes) -> tuple[ImageFile.ImageFile, Format]:
    """Return the image, its size and mode known and its pixels not yet decoded, and its format.

    Call this function, and decode the image, inside `guarded`.
    """
    found = sniff(data)
    checked = found.check(data)
    image = found.codec(BytesIO(checked))
    if found is _JPEG:
        _check_scans(image, checked)
    return image, found


def check_size(image: ImageFile.ImageFile, found: Format, max_pixels: int, max_side: int) -> None:
    """Raise BadImage for an image above the limits."""
    width, height = image.size
    most = max(max_pixels // 2, min(max_pixels, COSTLY_PIXELS)) if found.is_costly else max_pixels
    if max(width, height) > max_side:
        # Pillow keeps 8 bytes a row beside the pixels.
        raise BadImage(
            "too_many_pixels",
            f"{width} × {height} pixels; a side may have {max_side:,}; scale it down or cut it",
            "max_side",
        )
    if width * height > most:
        raise BadImage(
            "too_many_pixels",
            f"{width} × {height} = {width * height:,} pixels; at most {most:,} are decoded; scale it down",
            "max_pixels",
        )


def _check_scans(image: ImageFile.ImageFile, data: bytes) -> None:
    """Raise BadImage for a JPEG of too many scans: each scan of 95 bytes keeps a core busy for 0.1 s."""
    begin = image.fp.tell() if image.fp else 0  # Pillow has read up to the pixels of the first scan
    if _has_one_scan(image, data, begin):
        return  # the search below would hold Python's lock for up to a millisecond
    if data.find(b"\xff\xda", begin) < 0:
        return  # one scan, as almost every photo has
    end = data.find(b"\xff\xd9", begin)
    scans = 1 + data.count(b"\xff\xda", begin, end if end >= 0 else len(data))
    if has_too_many_scans(scans, image.width * image.height):
        raise BadImage(
            "unsupported",
            f"a JPEG of {scans} scans; at most {_MAX_SCANS} are decoded, fewer of a large image; save it again",
        )


def _has_one_scan(image: ImageFile.ImageFile, data: bytes, begin: int) -> bool:
    """True for a baseline JPEG whose first scan has all components: libjpeg decodes no other scan of it.

    The header of the scan ends at `begin`: marker, length, n, 2 bytes for each of n components, 3 bytes.
    """
    components = len(image.getbands())
    at = begin - 2 * components - 8
    header = data[at : at + 5] if at > 0 else b""
    return "progressive" not in image.info and header == bytes([0xFF, 0xDA, 0, 2 * components + 6, components])


def has_too_many_scans(scans: int, pixels: int) -> bool:
    """True if a JPEG of this many scans, for an image of this many pixels, is refused."""
    return scans > _MAX_SCANS or scans * pixels > _MAX_SCANNED


@contextmanager
def guarded() -> Iterator[None]:
    """Turn whatever a codec raises inside the block into BadImage."""
    try:
        yield
    except BadMedia:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise BadImage("too_many_pixels", f"the image is too large to decode ({error}); scale it down") from error
    except Exception as error:
        raise _codec_failure(error) from error


_UNSUPPORTED = ("nsupported", "not supported", "unknown pixel mode")  # Pillow's words; other errors mean damage


def _codec_failure(error: Exception) -> BadImage:
    text = f"{error}" or type(error).__name__
    if isinstance(error, NotImplementedError) or any(words in text for words in _UNSUPPORTED):
        return BadImage("unsupported", f"this type of image is not supported ({text}); save it as PNG or JPEG")
    return BadImage("truncated", "the image is cut off or damaged; replace it with a whole copy")
