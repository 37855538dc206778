"""Bounds the memory that several decoding threads of one program take together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from embedder.media.guard import Reserve

DEFAULT_MAX_DECODE_BYTES = 2**30
"""Most memory of the files that are decoded at once, bytes."""


class Room:
    """The bytes that files may take at once. A file that needs more than all of it is decoded alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._changed = limit, 0, threading.Condition()

    @contextmanager
    def share(self) -> Iterator[Reserve]:
        """Yield the function that reserves the memory of one file. It waits for room. The block's end gives it back."""
        held = 0

        def reserve(size: int) -> None:
            nonlocal held
            with self._changed:
                self._changed.wait_for(lambda: not self._used or self._used + size <= self._limit)
                self._used += size
                held += size

        try:
            yield reserve
        finally:
            with self._changed:
                self._used -= held
                self._changed.notify_all()
