"""Results that several requests share: computed once, on threads, and kept until newer ones need the room."""

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, cast

MOST_BYTES = 256 * 2**20
"""Bytes of the results that are kept. The last result is kept whatever its size."""

MOST_RESULTS = 64
"""Number of the results that are kept."""

THREADS = 2
"""Results that are computed at once, besides slow ones."""


class Sized(Protocol):
    """A result that knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""


R = TypeVar("R", bound=Sized)


class SharedResults:
    """A cache of results by key. Requests for the same key at the same time wait for one computation.

    All calls are on one event loop, so nothing is locked. A request that ends early leaves the computation running.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Sized] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._quick = ThreadPoolExecutor(THREADS, thread_name_prefix="view")
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="view-slow")

    async def get(self, key: Hashable, make: Callable[..., R], *args: Any, slow: bool = False) -> R:
        """Return the result of `key`: the one that is kept, or that of ``make(*args)``, which runs on a thread.

        Args:
            slow: run in a queue of its own, so that results that take minutes hold up no others.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return cast(R, self._kept[key])
        if key not in self._running:
            task = asyncio.get_running_loop().create_task(self._made(key, functools.partial(make, *args), slow))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return cast(R, await asyncio.shield(self._running[key]))

    async def _made(self, key: Hashable, make: Callable[[], Sized], slow: bool) -> Sized:
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._slow if slow else self._quick, make)
        self._kept[key] = result
        while len(self._kept) > 1 and (len(self._kept) > MOST_RESULTS or self.nbytes > MOST_BYTES):
            self._kept.popitem(last=False)
        return result

    @property
    def nbytes(self) -> int:
        """Bytes of the results that are kept."""
        return sum(each.nbytes for each in self._kept.values())

    def close(self) -> None:
        """Start no further computation."""
        for pool in (self._quick, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)
