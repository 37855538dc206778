"""Working ahead on threads, bounded."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(items: Iterator[T], step: int, note: Callable[[int, float], None] = lambda *_: None) -> Iterator[T]:
    """The items, taken on a thread of its own: while the caller goes through `step` of them, the next are read.

    Args:
        note: told of each step, on that thread: how many items, in how many seconds.
    """

    def read() -> list[T]:
        start = time.perf_counter()
        some = list(islice(items, step))
        note(len(some), time.perf_counter() - start)
        return some

    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        coming = reader.submit(read)
        while some := coming.result():
            coming = reader.submit(read)
            yield from some


def map_ahead(pool: ThreadPoolExecutor, run: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map` on a pool, in order, that never has more than `ahead` results waiting (Executor.map has no bound)."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(run, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
