"""Opens files of text as people's programs write them: UTF-8 or UTF-16, with or without a byte order mark."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from services.jobs.annotations.errors import BadAnnotations
from store import files

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encoding for each byte order mark. UTF-32's begins with UTF-16's, so it comes first."""


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file. Raises BadAnnotations if it cannot be read."""
    try:
        raw = files.open_regular(path)
    except OSError as error:
        raise BadAnnotations(f"{path} cannot be read: {error.strerror or error}") from error
    with raw:
        yield raw


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open a file of text, with every kind of line end as a newline.

    Raises BadAnnotations if it cannot be read, or turns out to be in another encoding while it is read.
    """
    with open_binary(path) as raw:
        encoding = _encoding(raw.read(4096))
        raw.seek(0)
        try:
            with io.TextIOWrapper(raw, encoding, newline=None) as text:
                yield text
        except UnicodeError as error:
            raise BadAnnotations(
                f"{path} is not in the encoding {encoding.removesuffix('-sig').upper()} throughout ({_reason(error)}); "
                "save it as UTF-8"
            ) from error


def _encoding(start: bytes) -> str:
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    if start[1::2].count(0) > len(start) // 4:  # Western text in UTF-16 has a zero in every second byte
        return "utf-16-le"
    return "utf-16-be" if start[::2].count(0) > len(start) // 4 else "utf-8"


def _reason(error: UnicodeError) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return str(error)
    near = error.object[max(0, error.start - 20) : error.start + 20].decode("latin-1")
    return f"byte 0x{error.object[error.start]:02x} in {near!r}"
