"""The form of answers with many contents: the length of a JSON header (4 bytes, little-endian), the header, contents.

Spaces at the end of the header make its length, and the 4 bytes before it, a multiple of 8.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

_LENGTH = struct.Struct("<I")
_EVEN = 8


def framed(header: Mapping[str, Any], contents: Iterable[bytes]) -> bytes:
    """Return the body with this header and the contents, one after the other."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % _EVEN)
    return b"".join((_LENGTH.pack(len(text)), text, *contents))


def unframed(body: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header and all contents of a body. Raises ValueError if this is none."""
    if len(body) < _LENGTH.size:
        raise ValueError("the body is shorter than the length of a header")
    [length] = _LENGTH.unpack_from(body)
    start = _LENGTH.size + length
    if start > len(body):
        raise ValueError("the header is not whole")
    header: dict[str, Any] = json.loads(body[_LENGTH.size : start])
    return header, memoryview(body)[start:]
