"""Images of CIFAR as PNG files, whose bytes are the same on every machine: the id of an asset is their digest.

A compressed PNG depends on the version of the compression library. So the data are stored in one block of Deflate
without compression, which has only one form (RFC 1951, section 3.2.4).
"""

import struct
import zlib

import numpy as np

SIDE = 32
"""Width and height in pixels."""

PIXELS = 3 * SIDE * SIDE
"""Number of bytes of an image: its red, green and blue plane, each row by row."""


def png(planes: bytes) -> bytes:
    """Return the PNG file of an image.

    Args:
        planes: PIXELS bytes, shape (3, SIDE, SIDE).
    """
    rows = np.zeros((SIDE, 1 + 3 * SIDE), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = np.frombuffer(planes, np.uint8).reshape(3, SIDE, SIDE).transpose(1, 2, 0).reshape(SIDE, -1)
    raw = rows.tobytes()
    block = struct.pack("<BHH", 1, len(raw), 0xFFFF - len(raw)) + raw
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    packed = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(raw))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
