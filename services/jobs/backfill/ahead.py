"""Working ahead on threads, bounded in number and in bytes."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

LEAST = 4
"""Items ahead however large they are."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How far ahead: so many items, and about so many bytes.

    Attributes:
        size: bytes of an item, and of what is made of it.
    """

    items: int
    bytes: int = sys.maxsize
    size: Callable[[Any], int] = lambda _: 0


def read_ahead(items: Iterator[T], bound: Bound, note: Callable[[int, float], None] = lambda *_: None) -> Iterator[T]:
    """The items, taken on a thread of its own: while the caller goes through some, the next are read.

    Args:
        bound: of how many are taken in one step.
        note: told of each step, on that thread: how many items, in how many seconds.
    """

    def read() -> list[T]:
        start, some, held = time.perf_counter(), list[T](), 0
        for item in items:
            some.append(item)
            held += bound.size(item)
            if len(some) == bound.items or held >= bound.bytes:
                break
        note(len(some), time.perf_counter() - start)
        return some

    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        coming = reader.submit(read)
        while some := coming.result():
            coming = reader.submit(read)
            yield from some


def map_ahead(pool: ThreadPoolExecutor, run: Callable[[T], R], items: Iterable[T], bound: Bound) -> Iterator[R]:
    """`map` on a pool, in order, that never has more than `bound` waiting (Executor.map has no bound).

    An item counts with its own bytes and those of the largest result so far: which are done nobody asks.
    """
    waiting: deque[tuple[Future[R], int]] = deque()
    given = largest = 0
    for item in items:
        waiting.append((pool.submit(run, item), bound.size(item)))
        given += waiting[-1][1]
        if len(waiting) >= LEAST and not largest:
            largest = bound.size(waiting[0][0].result())
        while len(waiting) > bound.items or (len(waiting) > LEAST and given + largest * len(waiting) > bound.bytes):
            future, size = waiting.popleft()
            given -= size
            result = future.result()
            largest = max(largest, bound.size(result))
            yield result
    while waiting:
        yield waiting.popleft()[0].result()
