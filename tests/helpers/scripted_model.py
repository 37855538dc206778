"""A model for the tests of the batcher. The test decides how long it is busy."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

from embedder.batcher import Batcher


class Model:
    """Answers item x with 10·x. Each call waits for a permit from the test."""

    def __init__(self, permits: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.began = threading.Semaphore(0)
        self._free = None if permits is None else threading.Semaphore(permits)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.threads.add(threading.get_ident())
        self.began.release()
        if self._free is not None:
            assert self._free.acquire(timeout=20)
        return [10 * item for item in items]

    def free(self, calls: int = 1) -> None:
        assert self._free is not None
        self._free.release(calls)

    async def begins(self) -> None:
        """Wait until one more call has begun."""
        assert await asyncio.to_thread(self.began.acquire, timeout=20)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=30))


async def queued(batcher: Batcher[int, int], items: Sequence[int]) -> "asyncio.Task[list[int]]":
    """Submit items and return when they are in the queue."""
    task = asyncio.create_task(batcher.submit(items))
    await asyncio.sleep(0)
    return task
