"""Reads a large JSON document piece by piece: memory holds one element of its arrays at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from services.jobs.annotations.errors import BadAnnotations

STEP = 1 << 18
"""Characters that are read at a time."""

MAX_PIECE = 1 << 26
"""Longest element, in characters. A longer one would fill the memory."""

_SPACE = " \t\n\r"


def pieces(text: IO[str], path: Path) -> Iterator[tuple[str, object]]:
    """Yield (key, element) for each element of an array under a key of the top object, and (key, value) for the rest.

    The key is "" for the elements of a top array. Raises BadAnnotations for text that is not JSON, and for a document
    that is neither an array nor an object.
    """
    window = _Window(text, path)
    start = window.next()
    if start == "[":
        yield from _array(window, "")
    elif start == "{":
        yield from _object(window)
    else:
        raise window.broken("it is neither an array nor an object")
    if end := window.next():
        raise window.broken(f"{end!r} follows its end")


def _object(window: "_Window") -> Iterator[tuple[str, object]]:
    if window.peek() == "}":
        window.next()
        return
    while True:
        key = window.value()
        if not isinstance(key, str) or window.next() != ":":
            raise window.broken("a key is missing")
        if window.peek() == "[":
            window.next()
            yield from _array(window, key)
        else:
            yield key, window.value()
        if (mark := window.next()) != ",":
            break
    if mark != "}":
        raise window.broken("an object does not end")


def _array(window: "_Window", key: str) -> Iterator[tuple[str, object]]:
    if window.peek() == "]":
        window.next()
        return
    while True:
        yield key, window.value()
        if (mark := window.next()) != ",":
            break
    if mark != "]":
        raise window.broken("an array does not end")


class _Window:
    """A part of the text, and the position in it."""

    def __init__(self, text: IO[str], path: Path) -> None:
        self._text, self._path = text, path
        self._part, self._at, self._before = "", 0, 0
        self._decoder = json.JSONDecoder()

    def broken(self, reason: str) -> BadAnnotations:
        return BadAnnotations(f"{self._path} is not JSON at character {self._before + self._at:,}: {reason}")

    def peek(self) -> str:
        """Return the next character that is no space, or "" at the end."""
        while True:
            while self._at < len(self._part) and self._part[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._part):
                return self._part[self._at]
            if not self._more(STEP):
                return ""

    def next(self) -> str:
        """Return what `peek` returns, and pass it."""
        found = self.peek()
        self._at += len(found)
        return found

    def value(self) -> object:
        """Return the next value, and pass it. Each failed attempt doubles the window, so that the work stays linear."""
        self.peek()
        step = STEP
        while True:
            reason = "the text ends"
            try:
                value, end = self._decoder.raw_decode(self._part, self._at)
            except RecursionError as error:
                raise self.broken("it is nested too deeply") from error
            except json.JSONDecodeError as error:
                reason = error.msg
            else:
                if end < len(self._part) or isinstance(value, str | list | dict):  # the rest of a number may follow
                    self._at = end
                    return value
            if len(self._part) - self._at > MAX_PIECE:
                raise self.broken(f"{reason}; or one element is longer than {MAX_PIECE:,} characters")
            if not self._more(step):
                raise self.broken(reason)
            step *= 2

    def _more(self, count: int) -> bool:
        read = self._text.read(count)
        self._before += self._at
        self._part, self._at = self._part[self._at :] + read, 0
        return bool(read)
