"""A model for the tests of the batcher: it is busy for as long as the test says."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

from embedder.batcher import Batcher


class Model:
    """Answers item x with 10·x. Each call waits for a permit: the test decides when the model is busy."""

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
        """Returns when one more call has begun."""
        assert await asyncio.to_thread(self.began.acquire, timeout=20)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=30))


async def queued(batcher: Batcher[int, int], items: Sequence[int]) -> "asyncio.Task[list[int]]":
    """A submission that stands in the queue on return."""
    task = asyncio.create_task(batcher.submit(items))
    await asyncio.sleep(0)
    return task
