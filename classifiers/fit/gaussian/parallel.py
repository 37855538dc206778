"""Statistics of many rows on all cores: every worker has its own, and they are merged at the end.

One BLAS thread a worker, because a product that many threads share waits for the slowest of them at every
step, and gathering and summing rows would run on one core. On a busy 2-core machine the whole fit took half the
time of the threaded Gram product alone.
"""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cache, reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform


class Batch(NamedTuple):
    """Some rows X (n, d) with codes (n,) and, perhaps, weights (n,)."""

    X: NDArray[Any]
    codes: NDArray[np.integer[Any]]
    weights: NDArray[np.float64] | None = None


Gathering = Callable[[Iterable[Batch], int, Transform, Moment], GaussianStatistics]
"""What `gather` is: (batches, number of classes, transform, moment) → the statistics of all rows, transformed."""

AHEAD = 2
"""Batches waiting per worker. Bounds the memory of a stream."""

SMALL = 1024
"""Dimensions up to which one thread factorises a matrix in some 50 ms."""


@cache
def blas() -> ThreadpoolController:
    """The BLAS libraries of this process; kept, because to look for them takes 2 ms."""
    return ThreadpoolController().select(user_api="blas")


def workers() -> int:
    """As many as BLAS may use threads, so that OMP_NUM_THREADS and the like count here too."""
    return max((int(pool["num_threads"]) for pool in blas().info()), default=1)


def factorising(dim: int) -> AbstractContextManager[object]:
    """While (dim, dim) matrices are factorised: one BLAS thread for small ones.

    LAPACK's threads wait for each other at every panel, with little to do between: a Cholesky factor of 512 × 512
    took 11 ms with one thread and 780 ms with two on two busy cores.
    """
    return blas().limit(limits=1) if dim <= SMALL else nullcontext()


def gather(
    batches: Iterable[Batch], n_classes: int, transform: Transform, moment: Moment = "shared"
) -> GaussianStatistics:
    """The statistics of all batches' rows, transformed.

    Batch i goes to worker i modulo their number, whatever its speed: the same batches give the same result.
    Raises BadVectors, and whatever `batches` raises.
    """
    count = workers()
    parts: list[GaussianStatistics | None] = [None] * count

    def take(lane: int, batch: Batch) -> None:
        rows = Batch(transform(batch.X), batch.codes, batch.weights)
        if (part := parts[lane]) is None:
            parts[lane] = GaussianStatistics.of(rows.X, rows.codes, n_classes, moment, rows.weights)
        else:
            part.update(*rows)

    waiting: deque[Future[None]] = deque()
    with ExitStack() as stack:
        stack.enter_context(blas().limit(limits=1))
        lanes = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(count)]
        for number, batch in enumerate(batches):
            waiting.append(lanes[number % count].submit(take, number % count, batch))
            if len(waiting) > AHEAD * count:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    found = [part for part in parts if part is not None]
    empty = GaussianStatistics.empty(n_classes, transform.width, moment)
    return reduce(GaussianStatistics.merge, found) if found else empty


def shares(X: NDArray[Any], codes: NDArray[np.integer[Any]], weights: NDArray[np.float64] | None = None) -> list[Batch]:
    """One batch a worker, of neighbouring rows, equal in size but for the rounding.

    A list, not a generator: inside `gather` BLAS has one thread, and so would `workers` find one.
    """
    ends = np.linspace(0, len(X), workers() + 1).astype(int).tolist()
    return [
        Batch(X[start:end], codes[start:end], None if weights is None else weights[start:end])
        for start, end in pairwise(ends)
    ]
