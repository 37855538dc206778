"""Bounds the memory that the decoding threads of a service take together, however many there are."""

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

from embedder.errors import BadMedia

SMALL = 32 * 2**20
"""Items that need fewer bytes are never kept waiting: a photo of 4 million pixels needs so many."""


class NoRoom(BadMedia):
    """There is no memory left to decode a file now. It is decoded later, so no client sees this error.

    A BadMedia, because decoding turns every other exception into one.
    """

    def __init__(self, size: int) -> None:
        super().__init__("unsupported", f"{size} bytes of memory to decode the file are not free now")
        self.size = size


class DecodeMemory:
    """The bytes that may be taken for decoding at once. A file that needs more than all of it is decoded alone.

    Files that do not fit wait on the event loop, first come first served, and keep no thread.

    Attributes:
        limit: size in bytes.
        used: bytes that are taken now.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def share(self) -> "Share":
        """Return the share of one file. It is empty at first."""
        return Share(self)

    def take(self, size: int) -> bool:
        """Take `size` bytes if they are free and nobody waits, or if they are few. Threads may call this."""
        with self._lock:
            if size >= SMALL and (self._waiting or not self._fits(size)):
                return False
            self.used += size
            return True

    async def wait(self, size: int) -> None:
        """Wait for `size` bytes and take them."""
        turn = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((size, turn))
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            self._wake()
            raise

    def give_back(self, size: int) -> None:
        """Give `size` bytes back. Only the event loop may call this."""
        with self._lock:
            self.used -= size
        self._wake()

    def _fits(self, size: int) -> bool:
        return not self.used or self.used + size <= self.limit

    def _wake(self) -> None:
        with self._lock:
            while self._waiting:
                size, turn = self._waiting[0]
                if not turn.done() and not self._fits(size):
                    return
                self._waiting.popleft()
                if not turn.done():
                    self.used += size
                    turn.set_result(None)


class Share:
    """The bytes that one file has taken."""

    def __init__(self, memory: DecodeMemory) -> None:
        self._memory, self._size = memory, 0

    def reserve(self, size: int) -> None:
        """Take what is missing to `size` bytes. Raises NoRoom. The decoder calls this on its thread."""
        missing = size - self._size
        if missing > 0:
            if not self._memory.take(missing):
                raise NoRoom(missing)
            self._size += missing

    async def wait(self, missing: int) -> None:
        """Wait for bytes that were missing, and take them."""
        await self._memory.wait(missing)
        self._size += missing

    def close_after(self, job: "Future[Any]") -> None:
        """Give the bytes back when a job on a thread has ended, which may be after the request was cancelled."""
        if job.done():
            self._close()
            return
        loop = asyncio.get_running_loop()
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._close))

    def _close(self) -> None:
        self._memory.give_back(self._size)
        self._size = 0
