"""Prefetching on threads: work ahead of the caller, with a bound on the number of items and on their bytes."""

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
"""Items that may wait whatever their size."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that may wait at once.

    Attributes:
        items: number of items.
        bytes: bytes of the items and of the results made from them, approximately.
        size: returns the bytes of an item or of a result.
    """

    items: int
    bytes: int = sys.maxsize
    size: Callable[[Any], int] = lambda _: 0


def read_ahead(items: Iterator[T], bound: Bound, note: Callable[[int, float], None] = lambda *_: None) -> Iterator[T]:
    """Yield the items in order. One step of them is read on another thread while the caller works on the step before.

    Args:
        bound: size of one step.
        note: called after each step, on the reading thread, with the number of items and the seconds they took.
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
    """Yield ``run(item)`` in the order of the items, at most `bound` of them waiting (`Executor.map` has no bound).

    Every waiting item counts as its own bytes plus those of the largest result so far, because its result may be
    finished or not.
    """
    waiting: deque[tuple[Future[R], int]] = deque()
    waiting_bytes = largest = 0
    for item in items:
        waiting.append((pool.submit(run, item), bound.size(item)))
        waiting_bytes += waiting[-1][1]
        if len(waiting) >= LEAST and not largest:
            largest = bound.size(waiting[0][0].result())
        while len(waiting) > bound.items or (
            len(waiting) > LEAST and waiting_bytes + largest * len(waiting) > bound.bytes
        ):
            future, size = waiting.popleft()
            waiting_bytes -= size
            result = future.result()
            largest = max(largest, bound.size(result))
            yield result
    while waiting:
        yield waiting.popleft()[0].result()
