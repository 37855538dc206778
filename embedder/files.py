"""Reads files that someone else may have written: regular files only, up to a size; JSON up to a depth.

A pipe or a device in the place of a file never makes the reader wait, and no file takes more memory than its limit.
Standard library only.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MOST_JSON = 2**20
"""Default largest size of a JSON file, bytes."""

DEPTH = 32
"""Largest depth of nested JSON lists and objects."""

TOO_DEEP = f"it is nested deeper than {DEPTH} levels"

CHUNK = 2**20
"""Bytes that are hashed at a time."""


class Refused(ValueError):
    """A file exists, but it is not what the reader accepts. The message does not name the file."""


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raises Refused, and OSError."""
    with _regular(path, most) as (file, size):
        data = file.read(size + 1)
    if len(data) > size:
        raise Refused("it grew while it was read")
    return data


def digest(path: Path, most: int) -> str:
    """Return the sha256 of a regular file of at most `most` bytes, 64 hex digits. Raises Refused, and OSError."""
    found = hashlib.sha256()
    with _regular(path, most) as (file, size):
        for _ in range(size // CHUNK + 1):
            found.update(file.read(CHUNK))
    return found.hexdigest()


def read_json(path: Path, most: int = MOST_JSON) -> dict[str, Any]:
    """Return the JSON object in a regular file of at most `most` bytes.

    Raises:
        Refused: another kind of file, a larger one, no JSON, another value than an object, more than `DEPTH` levels,
            NaN or infinite numbers, text that UTF-8 cannot encode (lone surrogates).
        OSError: the file is missing or cannot be opened.
    """
    data = read_bytes(path, most)
    try:
        value = json.loads(data)
    except RecursionError:
        raise Refused(TOO_DEEP) from None
    except ValueError as error:
        raise Refused(f"it is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refused(f"it holds a {type(value).__name__}, expected an object")
    _require_shallow(value)
    _require_sendable(value)
    return value


def _require_shallow(value: object) -> None:
    """Raise Refused for a value of more than `DEPTH` levels."""
    level = [value]
    for _ in range(DEPTH):
        level = [child for each in level for child in _children(each)]
        if not level:
            return
    raise Refused(TOO_DEEP)


def _require_sendable(value: object) -> None:
    """Raise Refused for a value that cannot be written as standard JSON in UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise Refused("a text in it has half a surrogate pair, which is no character") from None
    except ValueError:
        raise Refused("it holds NaN or an infinite number") from None


def _children(value: object) -> "list[Any]":
    """Return the lists and objects directly inside a list or an object."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in inside if isinstance(each, dict | list)]


@contextmanager
def _regular(path: Path, most: int) -> Iterator[tuple[IO[bytes], int]]:
    """Yield a regular file of at most `most` bytes, open, and its size.

    The kind is checked before the file is opened, because opening a device may do something, and again afterwards,
    because the file may have been replaced.
    """
    _size(os.stat(path), most)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        yield file, _size(os.fstat(handle), most)


def _size(found: os.stat_result, most: int) -> int:
    """Return the size of a file, bytes. Raises Refused unless it is a regular file of at most `most` bytes."""
    if not stat.S_ISREG(found.st_mode):
        raise Refused("it is not a regular file")
    if found.st_size > most:
        raise Refused(f"it has {found.st_size:,} bytes, at most {most:,} are read")
    return found.st_size
