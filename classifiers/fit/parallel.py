"""Statistics of many rows on all cores: every worker has its own, and they are merged at the end.

One BLAS thread a worker, because a product that many threads share waits for the slowest of them at every
step, and gathering and summing rows would run on one core. On a busy 2-core machine the whole fit took half the
time of the threaded Gram product alone.
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from classifiers.heads.statistics import GaussianStatistics

Batch = tuple[NDArray[Any], NDArray[np.integer[Any]]]
AHEAD = 2
"""Batches waiting per worker. Bounds the memory of a stream."""


@cache
def blas() -> ThreadpoolController:
    """The BLAS libraries of this process; kept, because to look for them takes 2 ms."""
    return ThreadpoolController().select(user_api="blas")


def workers() -> int:
    """As many as BLAS may use threads, so that OMP_NUM_THREADS and the like count here too."""
    return max((int(pool["num_threads"]) for pool in blas().info()), default=1)


def gather(batches: Iterable[Batch], n_classes: int, dim: int) -> GaussianStatistics:
    """The statistics of all batches (X (n, dim), codes (n,)).

    Batch i goes to worker i modulo their number, whatever its speed: the same batches give the same result.
    Raises BadVectors, and whatever `batches` raises.
    """
    count = workers()
    parts: list[GaussianStatistics | None] = [None] * count

    def take(lane: int, X: NDArray[Any], codes: NDArray[np.integer[Any]]) -> None:
        if (part := parts[lane]) is None:
            parts[lane] = GaussianStatistics.of(X, codes, n_classes)
        else:
            part.update(X, codes)

    waiting: deque[Future[None]] = deque()
    with ExitStack() as stack:
        stack.enter_context(blas().limit(limits=1))
        lanes = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(count)]
        for number, (X, codes) in enumerate(batches):
            waiting.append(lanes[number % count].submit(take, number % count, X, codes))
            if len(waiting) > AHEAD * count:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    found = [part for part in parts if part is not None]
    return reduce(GaussianStatistics.merge, found) if found else GaussianStatistics.empty(n_classes, dim)


def shares(X: NDArray[Any], codes: NDArray[np.integer[Any]]) -> list[Batch]:
    """One batch a worker, of neighbouring rows, equal in size but for the rounding.

    A list, not a generator: inside `gather` BLAS has one thread, and so would `workers` find one.
    """
    ends = np.linspace(0, len(X), workers() + 1).astype(int).tolist()
    return [(X[start:end], codes[start:end]) for start, end in pairwise(ends)]
