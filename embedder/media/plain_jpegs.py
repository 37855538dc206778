"""Plain JPEGs: files that a batch decoder may take, judged by a few bytes of their header.

The check is quick, because Python's lock is held meanwhile, and strict: a file with anything unusual is not plain. Such
files, and damaged ones, go to `embedder.media.image.decode`, which has all checks and all error messages.
"""

import struct
from dataclasses import dataclass
from struct import iter_unpack, unpack_from

from embedder.media import tiff
from embedder.media.formats import has_too_many_scans

_segment = struct.Struct(">BBH").unpack_from
_MOST_SEGMENTS, _MOST_HEADER = 60, 2**18
_START, _END, _SCAN = b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda"
_BASELINE, _PROGRESSIVE = 0xC0, 0xC2
_HUFFMAN, _START_OF_SCAN, _QUANTISATION, _RESTART, _JFIF, _APP1, _ADOBE, _COMMENT = (
    *(0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xEE, 0xFE),
)
_SKIPPED = {_HUFFMAN, _QUANTISATION, _RESTART, _JFIF, _COMMENT, *range(0xE2, 0xEE), 0xEF}
_SAMPLINGS = {
    (0x11,): "grey",
    (0x11, 0x11, 0x11): "4:4:4",
    (0x21, 0x11, 0x11): "4:2:2",
    (0x22, 0x11, 0x11): "4:2:0",
}
"""Names of the supported samplings, by the factors of each component (horizontal in the high half of the byte)."""
_YCBCR_IDS = (1, 2, 3)
_YCBCR = 1
"""The number for YCbCr in Adobe's segment."""
_ORIENTATION, _SHORT = 0x0112, 3
_EXIF, _XMP_ORIENTATION = b"Exif\0\0", b"tiff:Orientation"

KINDS = tuple(name + how for name in _SAMPLINGS.values() for how in ("", " progressive"))
"""The kinds of plain JPEGs: sampling of the colours, and the order of the data."""


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """A JPEG that a batch decoder may take.

    Attributes:
        width, height: pixels as stored, before the image is turned upright.
        kind: one of `KINDS`.
        orientation: EXIF orientation, 1 to 8.
    """

    data: bytes
    width: int
    height: int
    kind: str
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the upright image, pixels."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def plain(data: bytes) -> PlainJpeg | None:
    """Return the JPEG, or None if the file is no JPEG, is unusual in any way, or does not end with the end marker.

    Plain are baseline and progressive JPEGs of 8 bits with one component, or with three in YCbCr. The end marker shows
    that the file is not cut off. Damage inside of the pixel data remains unseen: there, codecs may give other pixels
    than Pillow does, and what Pillow refuses may pass.
    """
    if not data.startswith(_START) or not data.endswith(_END):
        return None
    try:
        return _read(data)
    except (struct.error, IndexError):
        return None


def _read(data: bytes) -> PlainJpeg | None:
    """Return the JPEG, or None. Raises struct.error and IndexError if the header is cut off."""
    frame, orientations, is_odd, end = None, list[int | None](), False, 2
    for _ in range(_MOST_SEGMENTS):
        at = end
        begin, marker, length = _segment(data, at)
        start, end = at + 4, at + 2 + length
        is_odd |= begin != 0xFF or length < 2 or end > _MOST_HEADER
        if is_odd or marker == _START_OF_SCAN:
            break
        if marker in _SKIPPED:
            continue
        if marker == _APP1:
            orientations += _orientations(data, start, end)
        elif marker in (_BASELINE, _PROGRESSIVE) and frame is None:
            frame = _Frame.read(data, start, progressive=marker == _PROGRESSIVE)
        else:
            is_odd = marker != _ADOBE or (data.startswith(b"Adobe", start) and data[start + 11] != _YCBCR)
    else:
        return None
    if is_odd or frame is None or len(orientations) > 1 or not (orientation := (*orientations, 1)[0]):
        return None
    return _checked(data, at, frame, orientation)


def _orientations(data: bytes, start: int, end: int) -> list[int | None]:
    """Return the orientation in a segment with EXIF data or XMP, None in place of an unusual one."""
    if data.startswith(_EXIF, start):
        return [_orientation(data[start + len(_EXIF) : end])]
    # Pillow reads the orientation of XMP if EXIF has none.
    return [None] if data.find(_XMP_ORIENTATION, start, end) >= 0 else []


@dataclass(frozen=True, slots=True)
class _Frame:
    """The frame header of a supported JPEG."""

    width: int
    height: int
    components: int
    sampling: str
    progressive: bool

    @classmethod
    def read(cls, data: bytes, start: int, *, progressive: bool) -> "_Frame | None":
        precision, height, width, components = unpack_from(">BHHB", data, start)
        each = data[start + 6 : start + 6 + 3 * components]
        ids, factors = tuple(each[::3]), tuple(each[1::3])
        sampling = _SAMPLINGS.get(factors)
        if precision != 8 or not width or not height or sampling is None:
            return None
        if components > 1 and ids != _YCBCR_IDS:
            return None
        return cls(width, height, components, sampling, progressive)


def _checked(data: bytes, at: int, frame: _Frame, orientation: int) -> PlainJpeg | None:
    """Return the JPEG whose first scan is at `at`; None if its scans are unusual."""
    if frame.progressive:
        scans = data.count(_SCAN, at, data.find(_END, at))
        if has_too_many_scans(scans, frame.width * frame.height):
            return None
    elif data[at + 4] != frame.components:  # the number of components in the scan: others would follow
        return None
    kind = frame.sampling + " progressive" * frame.progressive
    return PlainJpeg(data, frame.width, frame.height, kind, orientation)


def _orientation(exif: bytes) -> int | None:
    """Return the orientation in EXIF data, 1 if there is none; None if the data is unusual."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    (start,) = unpack_from(order + "I", exif, 4)
    (count,) = unpack_from(order + "H", exif, start)
    entries = exif[start + 2 : start + 2 + 12 * count]
    if len(entries) != 12 * count:
        return None
    found = [entry[1:] for entry in iter_unpack(order + "HHIHH", entries) if entry[0] == _ORIENTATION]
    if not found:
        return 1
    (kind, number, value, _), *others = found
    if others or kind != _SHORT or number != 1:
        return None
    if value == 1 or not 1 < value <= 8:
        return 1
    return value if tiff.is_modest(exif) else None
