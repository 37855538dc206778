"""Checks of image files before Pillow opens them, one function for each format: bytes in, bytes for the codec out.

Pillow walks the blocks of a file in Python. A file of millions of empty blocks would keep the interpreter busy for
minutes, so files with absurdly many blocks are refused, and blocks that no image needs are left out. These functions
jump from block to block and search with C code, so each takes at most some ten milliseconds.
"""

import re
import zlib
from collections.abc import Callable, Collection, Iterator
from struct import unpack_from

from embedder.errors import BadImage
from embedder.media import tiff

MOST_BLOCKS = 20_000
"""Most chunks of a PNG or WebP, segments before the pixels of a JPEG, and extensions of a GIF."""
_TABLES = 2**19
"""Most bytes of the needed segments of a JPEG before its pixels. They are a few thousand in real files."""
_USUAL_SEGMENTS, _USUAL_HEADER = 64, 2**18
"""A JPEG whose header has more segments or bytes, or as much between the segments, is passed on without the excess."""
_RLE_PIXELS = 2_000_000
"""Largest BMP with run-length encoding, which Pillow decodes in Python, pixels."""
_AVIF_BOX = 2**18
"""Most bytes of the description of an AVIF. libavif compares its entries pair by pair."""

_FILL = re.compile(rb"\xff*")
_ALONE = {0x00, 0x01, *range(0xD0, 0xDA)}
"""Markers of a JPEG without a segment."""
_SCAN = 0xDA
_NEEDED = {*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xE0, 0xEE}
"""Segments that a decoder needs: frames, tables, JFIF (APP0) and Adobe's (APP14)."""
_APP1 = 0xE1
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def _too_many(form: str, what: str) -> BadImage:
    return BadImage("unsupported", f"the {form} has too many {what}; save it again")


def _cut_off(form: str, data: bytes) -> BadImage:
    message = f"the {form} file is cut off after {len(data):,} bytes; replace it with a whole copy"
    return BadImage("truncated", message)


def jpeg(data: bytes) -> bytes:
    """Return the JPEG; if its header is unusually long, without comments, profiles and filling. Raises BadImage."""
    *segments, (_, scan, _) = _segments(data)
    exif = [data[start + 10 : end] for _, start, end in segments if data.startswith(_EXIF, start + 4)]
    is_sound = not exif or tiff.is_modest(b"".join(exif[:8]))
    filling = scan - 2 - sum(end - start for _, start, end in segments)
    if is_sound and scan < _USUAL_HEADER and len(segments) < _USUAL_SEGMENTS and filling < _USUAL_SEGMENTS:
        return data
    prefixes = (_EXIF, _XMP) if is_sound else (_XMP,)
    header = [
        data[start:end]
        for marker, start, end in segments
        if marker in _NEEDED or (marker == _APP1 and data.startswith(prefixes, start + 4))
    ]
    if sum(map(len, header)) > _TABLES:
        raise _too_many("JPEG", "bytes of tables before its pixels")
    return b"".join([data[:2], *header, data[scan:]])


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment of a JPEG, up to its first scan. Raises BadImage."""
    at = 2
    for _ in range(MOST_BLOCKS):
        start = data.find(b"\xff", at)
        found = _FILL.match(data, start) if start >= 0 else None
        if not found or found.end() + 3 > len(data):
            raise BadImage("truncated", "the image is cut off or damaged; replace it with a whole copy")
        marker, at = data[found.end()], found.end() + 1
        if marker not in _ALONE:
            at += max(int.from_bytes(data[at : at + 2], "big"), 2)
            yield marker, found.end() - 1, at
        if marker == _SCAN:
            return
    raise _too_many("JPEG", "segments before its pixels")


def png(data: bytes, *, animated: bool = False) -> bytes:
    """Return the PNG with only the chunks that its image needs, and their check sums verified. Raises BadImage.

    Pillow does not verify the check sums of pixel data, so a flipped bit would pass. It also reads text chunks, which
    may be decompression bombs or too long for it.

    Args:
        animated: keep the frames of an animation too.
    """
    kept = [data[:8]]
    position = 8
    view = memoryview(data)
    optional = _FRAMES if animated else _OPTIONAL
    for _ in range(MOST_BLOCKS):
        if position + 12 > len(data):
            raise _cut_off("PNG", data)
        length, kind = unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _cut_off("PNG", data)
        is_sound = zlib.crc32(view[position + 4 : end - 4]) == unpack_from(">I", data, end - 4)[0]
        if _needed(kind, optional, is_sound=is_sound):
            # Orientation may follow the pixels. Before them, it is known with the header.
            kept.insert(2 if kind == b"eXIf" else len(kept), data[position:end])
        if kind == b"IEND":
            return b"".join(kept)
        position = end
    raise _too_many("PNG", "chunks")


_OPTIONAL = (b"tRNS", b"eXIf")
_FRAMES = (*_OPTIONAL, b"acTL", b"fcTL", b"fdAT")


def _needed(kind: bytes, optional: Collection[bytes], *, is_sound: bool) -> bool:
    """True if the image needs a PNG chunk. Raises BadImage if the chunk is needed and cannot be used."""
    if kind in optional or kind[0] & 0x20:  # bit 5 of the first letter: a decoder may ignore it
        return is_sound and kind in optional
    if kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
        raise BadImage("unsupported", f"the PNG needs its chunk {kind!r}, which is not standard; save it again")
    if not is_sound:
        raise BadImage(
            "truncated",
            f"the PNG is damaged: wrong check sum in its {kind.decode()} chunk; replace it with a whole copy",
        )
    return True


def gif(data: bytes, *, animated: bool = False) -> bytes:
    """Return the GIF. Raises BadImage for too many blocks before its first image, or anywhere if it is `animated`."""
    at = 13 + _colours(data[10:11])
    # Writers fill blocks of pixels up to 255 bytes, but for the last of each image.
    left = MOST_BLOCKS + len(data) // 64
    while left > 0 and at < len(data) and (kind := data[at]) != 0x3B:  # the end of the file
        if kind == 0x2C:  # an image
            if not animated:
                return data
            at += 11 + _colours(data[at + 9 : at + 10])
        elif kind == 0x21:  # an extension
            at += 2
        else:
            at, left = at + 1, left - 1
            continue
        while left > 0 and at < len(data) and (size := data[at]):
            at, left = at + 1 + size, left - 1
        at, left = at + 1, left - 1
    if left <= 0:
        raise _too_many("GIF", "blocks")
    return data


def _colours(flags: bytes) -> int:
    """Return the bytes of the table of colours that GIF's flags announce."""
    return 3 * 2 ** (1 + (flags[0] & 7)) if flags and flags[0] & 0x80 else 0


def webp(data: bytes) -> bytes:
    """Return the WebP. Raises BadImage for too many chunks."""
    at = 12
    for _ in range(MOST_BLOCKS):
        if at + 8 > len(data):
            return data
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        at += at % 2
    raise _too_many("WebP", "chunks")


def bmp(data: bytes) -> bytes:
    """Return the BMP. Raises BadImage for a large one with run-length encoding, which Pillow decodes in Python."""
    if int.from_bytes(data[14:18], "little") >= 40 and int.from_bytes(data[30:34], "little") in (1, 2):
        width, height = unpack_from("<ii", data, 18)
        if abs(width * height) > _RLE_PIXELS:
            raise _too_many("BMP", f"pixels for its run-length encoding ({width} × {abs(height)})")
    return data


def avif(data: bytes) -> bytes:
    """Return the AVIF. Raises BadImage if its description has too many bytes or boxes."""
    at = 0
    for _ in range(MOST_BLOCKS):
        if at + 8 > len(data):
            return data
        size, kind = unpack_from(">I4s", data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = unpack_from(">Q", data, at + 8)
        size = size if size >= 8 else len(data) - at
        if kind in (b"meta", b"moov") and size > _AVIF_BOX:
            break
        at += size
    raise _too_many("AVIF", "entries")


Check = Callable[[bytes], bytes]
"""Returns the bytes to give to the codec. Raises BadImage."""
