"""Only files that every decoder reads alike count as plain JPEGs; their facts are those that Pillow finds."""

import io
import struct

import numpy as np
import pytest
from helpers.jpegs import jpeg, of_kind
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.media.image import inspect
from embedder.media.plain_jpegs import KINDS, plain

PHOTO = jpeg(64, 48)


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


def changed(data: bytes, marker: int, at: int, value: int) -> bytes:
    """Return the JPEG with one byte changed in the body of the first segment with this marker."""
    start = data.index(bytes([0xFF, marker])) + 4 + at
    return data[:start] + bytes([value]) + data[start + 1 :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (17, 5), (640, 480)])
def test_every_kind_is_recognised_with_its_size(kind, size):
    found = plain(of_kind(kind, *size))
    assert found is not None
    assert (found.kind, found.width, found.height, found.orientation) == (kind, *size, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_size_is_pillows(orientation):
    data = jpeg(64, 48, orientation=orientation)
    found, info = plain(data), inspect(data)
    assert found is not None
    assert (found.orientation, found.upright) == (orientation, (info.width, info.height))


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_counts_as_upright_as_in_pillow(value):
    found = plain(jpeg(64, 48, orientation=value))
    assert found is not None
    assert found.orientation == 1


ODD = {
    "empty": b"",
    "only the start": PHOTO[:3],
    "a PNG": b"\x89PNG\r\n\x1a\n" + PHOTO,
    "cut off": PHOTO[:-200],
    "without the end marker": PHOTO[:-2],
    "cut off in the header": PHOTO[:100] + b"\xff\xd9",
    "with more behind it": PHOTO + b"more",
    "CMYK": jpeg(64, 48, mode="CMYK"),
    "RGB, by Adobe's segment": with_segment(PHOTO, 0xEE, b"Adobe\0\x64\0\0\0\0\0"),
    "RGB, by its components": jpeg(64, 48, keep_rgb=True),
    "12 bits": changed(PHOTO, 0xC0, 0, 12),
    "no width": changed(changed(PHOTO, 0xC0, 3, 0), 0xC0, 4, 0),
    "no height": changed(changed(PHOTO, 0xC0, 1, 0), 0xC0, 2, 0),
    "two components": changed(PHOTO, 0xC0, 5, 2),
    "an odd sampling": changed(PHOTO, 0xC0, 7, 0x41),
    "sequential with 16-bit tables": PHOTO.replace(b"\xff\xc0", b"\xff\xc1"),
    "lossless": PHOTO.replace(b"\xff\xc0", b"\xff\xc3"),
    "arithmetic": PHOTO.replace(b"\xff\xc0", b"\xff\xc9"),
    "two frames": with_segment(PHOTO, 0xC0, PHOTO[PHOTO.index(b"\xff\xc0") + 4 :][:15]),
    "two EXIF segments": with_segment(jpeg(64, 48, orientation=1), 0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "damaged EXIF": with_segment(PHOTO, 0xE1, b"Exif\0\0MM\0*\0\0\xff\0"),
    "an orientation in XMP": with_segment(PHOTO, 0xE1, b'http://ns.adobe.com/xap/1.0/\0<rdf tiff:Orientation="6">'),
    "an unknown segment": with_segment(PHOTO, 0xDE, b"\0\0"),
    "filling before a segment": PHOTO[:2] + b"\xff" + PHOTO[2:],
    "a hundred comments": PHOTO[:2] + 100 * b"\xff\xfe\0\x03." + PHOTO[2:],
    "a long header": PHOTO[:2] + 5 * (b"\xff\xe2\xff\xff" + bytes(65_533)) + PHOTO[2:],
    "baseline with a scan of one component": changed(PHOTO, 0xDA, 0, 1),
    "a hundred and one scans": (lambda data: data[:-2] + 101 * b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + data[-2:])(
        jpeg(64, 48, progressive=True)
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_anything_unusual_is_not_plain(odd):
    assert plain(ODD[odd]) is None


@pytest.mark.parametrize("segment", [(0xEE, b"Adobe\0\x64\0\0\0\0\x01"), (0xFE, b"a comment"), (0xED, b"Photoshop")])
def test_usual_segments_are_passed_over(segment):
    assert plain(with_segment(PHOTO, *segment)) is not None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_header_raises_nothing_and_facts_stay_pillows(data):
    file = bytearray(jpeg(64, 48, orientation=6))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(2, 700))] = data.draw(st.integers(0, 255))
    found = plain(bytes(file))
    if found is None:
        return
    try:
        image = Image.open(io.BytesIO(file))
    except Exception:
        return  # Pillow refuses it: the pixels decide, as for every damage inside
    assert (found.width, found.height) == image.size
    assert image.mode == ("L" if found.kind.startswith("grey") else "RGB")
    assert np.isin(found.orientation, range(1, 9))
