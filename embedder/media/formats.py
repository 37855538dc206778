"""The supported image formats, and the checks between an untrusted file and Pillow's codecs."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from struct import unpack_from

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

READ = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"


@dataclass(frozen=True, slots=True)
class Format:
    """One format: its media type and the one codec that may open it."""

    media_type: str
    codec: Callable[[BytesIO], ImageFile.ImageFile]


# Codecs are called by class, never through Image.open. So only these seven can run (Pillow also knows formats that
# start other programs), and no process-wide limit of Image.open judges the size first. A JPEG that holds several images
# (MPO) counts as its first image.
_JPEG = Format("image/jpeg", JpegImagePlugin.JpegImageFile)
_PNG = Format("image/png", PngImagePlugin.PngImageFile)
_WEBP = Format("image/webp", WebPImagePlugin.WebPImageFile)
_GIF = Format("image/gif", GifImagePlugin.GifImageFile)
_BMP = Format("image/bmp", BmpImagePlugin.BmpImageFile)
_TIFF = Format("image/tiff", TiffImagePlugin.TiffImageFile)
_AVIF = Format("image/avif", AvifImagePlugin.AvifImageFile)

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


def open_header(data: bytes) -> tuple[ImageFile.ImageFile, str]:
    """Return the image, its size and mode known and its pixels not yet decoded, and its media type.

    Call this function, and decode the image, inside `guarded`.
    """
    found = sniff(data)
    image = found.codec(BytesIO(_sound_png(data) if found is _PNG else data))
    if found is _JPEG:
        _check_scans(image, data)
    return image, found.media_type


def _check_scans(image: ImageFile.ImageFile, data: bytes) -> None:
    """Raise BadImage for a JPEG of too many scans: each scan of 95 bytes keeps a core busy for 0.1 s."""
    begin = image.fp.tell() if image.fp else 0  # Pillow has read up to the first scan
    end = data.find(b"\xff\xd9", begin)
    scans = 1 + data.count(b"\xff\xda", begin, end if end >= 0 else len(data))
    if scans > _MAX_SCANS:
        raise BadImage("unsupported", f"a JPEG of {scans} scans; at most {_MAX_SCANS} are decoded; save it again")


def _sound_png(data: bytes) -> bytes:
    """Return the PNG with only the chunks that its image needs, and their check sums verified.

    Pillow does not verify the check sums of pixel data, so a flipped bit would pass. It also reads text chunks, which
    may be decompression bombs or too long for it.
    """
    kept = [data[:8]]
    position = 8
    view = memoryview(data)
    while position + 12 <= len(data):
        length, kind = unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if _needed(kind, sound=zlib.crc32(view[position + 4 : end - 4]) == unpack_from(">I", data, end - 4)[0]):
            # Orientation may follow the pixels. Before them, it is known with the header.
            kept.insert(2 if kind == b"eXIf" else len(kept), data[position:end])
        if kind == b"IEND":
            return b"".join(kept)
        position = end
    raise BadImage("truncated", f"the PNG file is cut off after {len(data):,} bytes; replace it with a whole copy")


def _needed(kind: bytes, *, sound: bool) -> bool:
    """True if the image needs a PNG chunk. Raises BadImage if the chunk is needed and cannot be used."""
    if kind in (b"tRNS", b"eXIf") or kind[0] & 0x20:  # bit 5 of the first letter: a decoder may ignore it
        return sound and kind in (b"tRNS", b"eXIf")
    if kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
        raise BadImage("unsupported", f"the PNG needs its chunk {kind!r}, which is not standard; save it again")
    if not sound:
        raise BadImage(
            "truncated",
            f"the PNG is damaged: wrong check sum in its {kind.decode()} chunk; replace it with a whole copy",
        )
    return True


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
