"""A check of the boxes of an MP4 or MOV file before FFmpeg opens it.

FFmpeg keeps an entry in memory for each sample that a table announces, whether its bytes are there or not, and a seek
compares them with one another. A file of one kilobyte could announce a billion.
"""

from collections.abc import Iterable, Iterator
from struct import unpack_from

from embedder.errors import BadVideo

MOST_BOXES = 100_000
MOST_SAMPLES = 150_000
"""Most samples (images and packets of sound) of all tracks together. Uncompressed sound does not count."""

_FOLDERS = {
    *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"),
    *(b"dinf", b"edts", b"mvex", b"mfra", b"wave", b"sinf", b"tapt", b"udta", b"tref", b"matd"),
}
"""Boxes that hold boxes, for FFmpeg."""

_Box = tuple[bytes, int, int]
"""Type of a box, then start and end of its content."""


def check_samples(data: bytes) -> None:
    """Raise BadVideo if the tables of a file announce too many samples, or are compressed."""
    left = iter(range(MOST_BOXES))
    total = 0
    for kind, start, end in _boxes(data, 0, len(data), left):
        if kind == b"moov":
            tracks = _boxes(data, start, end, left)
            total += sum(_samples(data, list(_leaves(data, [track], left))) for track in tracks)
        elif kind in _FOLDERS:
            total += _samples(data, list(_leaves(data, [(kind, start, end)], left)))
    if total > MOST_SAMPLES:
        raise BadVideo(
            "unsupported", f"the video announces {total:,} samples; {MOST_SAMPLES:,} are read; save it again"
        )


def _samples(data: bytes, leaves: list[_Box]) -> int:
    """Return the number of samples that the boxes announce; 0 for uncompressed sound, which FFmpeg reads in chunks."""
    times = [
        data[start + 4 : start + 8] + data[start + 12 : start + 16] for kind, start, _ in leaves if kind == b"stts"
    ]
    is_sound = any(kind == b"hdlr" and data[start + 8 : start + 12] == b"soun" for kind, start, _ in leaves)
    if is_sound and times == [b"\0\0\0\1" * 2]:  # each of the samples takes one unit of time
        return 0
    fields = {b"stsz": 8, b"stz2": 8, b"trun": 4}
    places = [start + fields[kind] for kind, start, _ in leaves if kind in fields]
    return sum(int.from_bytes(data[place : place + 4], "big") for place in places)


def _leaves(data: bytes, boxes: Iterable[_Box], left: Iterator[int]) -> Iterator[_Box]:
    """Yield the boxes inside `boxes` that hold no boxes."""
    for kind, start, end in boxes:
        if kind == b"cmov":
            raise BadVideo("unsupported", "the header of the video is compressed; save it again")
        if kind in _FOLDERS:
            yield from _leaves(data, _boxes(data, start, end, left), left)
        else:
            yield kind, start, end


def _boxes(data: bytes, at: int, end: int, left: Iterator[int]) -> Iterator[_Box]:
    """Yield the boxes of a stretch of the file; `left` yields a number for each box that may still be read."""
    while at + 8 <= end:
        if next(left, None) is None:
            raise BadVideo("unsupported", f"the video has more than {MOST_BOXES:,} boxes; save it again")
        size, kind = unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= end:
            (size,) = unpack_from(">Q", data, start)
            start += 8
        stop = min(at + size, end) if size >= 8 else end
        yield kind, start, stop
        at = stop
