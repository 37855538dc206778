"""Statistics of many rows on all cores: every worker has its own, and they are merged at the end.

One BLAS thread a worker, because a product that many threads share waits for the slowest of them at every
step, and gathering and summing rows would run on one core. On a busy 2-core machine the whole fit took half the
time of the threaded Gram product alone.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from classifiers.heads.statistics import GaussianStatistics

Batch = tuple[NDArray[Any], NDArray[np.integer[Any]]]
AHEAD = 2
"""Batches waiting per worker. Bounds the memory of a stream."""


def workers() -> int:
    """As many as BLAS may use threads, so that OMP_NUM_THREADS and the like count here too."""
    return max((int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def gather(batches: Iterable[Batch], n_classes: int, dim: int) -> GaussianStatistics:
    """The statistics of all batches (X (n, dim), codes (n,)).

    Batch i goes to worker i modulo their number, whatever its speed: the same batches give the same result.
    Raises BadVectors, and whatever `batches` raises.
    """
    count = workers()
    parts = [GaussianStatistics.empty(n_classes, dim) for _ in range(count)]
    waiting: deque[Future[None]] = deque()
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1, user_api="blas"))
        lanes = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(count)]
        for number, (X, codes) in enumerate(batches):
            lane = number % count
            waiting.append(lanes[lane].submit(parts[lane].update, X, codes))
            if len(waiting) > AHEAD * count:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    return reduce(GaussianStatistics.merge, parts)


def shares(X: NDArray[Any], codes: NDArray[np.integer[Any]]) -> Iterator[Batch]:
    """One batch a worker, of neighbouring rows, equal in size but for the rounding."""
    ends = np.linspace(0, len(X), workers() + 1).astype(int).tolist()
    for start, end in pairwise(ends):
        yield X[start:end], codes[start:end]
