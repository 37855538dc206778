"""The form of answers with many contents: the length of a JSON header (4 bytes, little-endian), the header, contents.

Spaces at the end of the header make the length of both a multiple of 8.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

ALIGNMENT = 8
"""The contents of a body begin at a multiple of this many bytes, so that a reader can use arrays in place."""

_LENGTH = struct.Struct("<I")


def framed(header: Mapping[str, Any], contents: Iterable[bytes] = ()) -> bytes:
    """Return the body with this header and the contents, one after the other."""
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    text = text.ljust(padded(_LENGTH.size + len(text)) - _LENGTH.size)
    return b"".join((_LENGTH.pack(len(text)), text, *contents))


def unframed(body: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header and all contents of a body. Raises ValueError if this is none."""
    if len(body) < _LENGTH.size:
        raise ValueError("the body is shorter than the length of a header")
    [length] = _LENGTH.unpack_from(body)
    start = _LENGTH.size + length
    if start > len(body):
        raise ValueError("the header is not whole")
    try:
        header: dict[str, Any] = json.loads(body[_LENGTH.size : start])
    except ValueError as error:
        raise ValueError(f"the header cannot be read: {error}") from error
    return header, memoryview(body)[start:]


def padded(size: int) -> int:
    """Return the smallest multiple of `ALIGNMENT` that is not below `size`."""
    return -(-size // ALIGNMENT) * ALIGNMENT
