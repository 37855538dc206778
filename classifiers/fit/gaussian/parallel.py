"""Statistics of many rows on all cores: each worker gathers statistics of its own, and at the end they are merged.

Each worker has one BLAS thread. A matrix product on many threads waits for the slowest thread at each step, and
leaves gathering and summing to one core. On a busy 2-core machine the whole fit took half the time of the threaded
Gram product alone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, reduce
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from classifiers.fit.gaussian.memory import memory_kept
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform

T = TypeVar("T")


class Batch(NamedTuple):
    """Some rows X (n, d) with codes (n,) and, perhaps, weights (n,)."""

    X: NDArray[Any]
    codes: NDArray[np.integer[Any]]
    weights: NDArray[np.float64] | None = None


Gathering = Callable[[Iterable[Batch], int, Transform, Moment], GaussianStatistics]
"""The type of `gather`: (batches, number of classes, transform, moment) → statistics of the transformed rows."""

AHEAD = 2
"""Batches that wait for each worker. This bounds the memory of a stream."""

SMALL = 1024
"""Maximum width of matrices that are factorised on one thread, which takes about 50 ms at this width."""


@cache
def blas() -> ThreadpoolController:
    """Return the BLAS libraries of this process. The result is cached, because the search takes 2 ms."""
    return ThreadpoolController().select(user_api="blas")


def workers() -> int:
    """Return the number of workers: the number of threads that BLAS may use, so a limit for BLAS holds here too."""
    return max((int(pool["num_threads"]) for pool in blas().info()), default=1)


def factorising(dim: int) -> AbstractContextManager[object]:
    """Return a context in which (dim, dim) matrices are factorised: small ones on one BLAS thread.

    LAPACK's threads wait for each other at each panel and have little to do in between. On two busy cores, a Cholesky
    factor of 512 × 512 took 11 ms with one thread and 780 ms with two.
    """
    return blas().limit(limits=1) if dim <= SMALL else nullcontext()


def gather(
    batches: Iterable[Batch], n_classes: int, transform: Transform, moment: Moment = "shared"
) -> GaussianStatistics:
    """Gather the statistics of all rows after the transform. Raises BadVectors, and whatever `batches` raises."""
    [found] = gather_forms(batches, n_classes, [Form(transform, moment)])
    return found


class Form(NamedTuple):
    """A form of statistics: the transform of the rows, and the form of their second moment."""

    transform: Transform
    moment: Moment = "shared"


def gather_forms(batches: Iterable[Batch], n_classes: int, forms: Sequence[Form]) -> list[GaussianStatistics]:
    """Gather the statistics of all rows in several forms, from one pass.

    Batch i goes to worker i modulo the number of workers, so the same batches give the same result.

    Raises BadVectors, and whatever `batches` raises.
    """
    count = workers()
    parts: list[list[GaussianStatistics]] = [[] for _ in range(count)]

    def take(own: list[GaussianStatistics], batch: Batch) -> None:
        X, codes, weights = by_class(batch) if len(forms) > 1 else batch
        if own:
            for part, form in zip(own, forms, strict=True):
                part.update(form.transform(X), codes, weights)
        else:
            own += [GaussianStatistics.of(each(X), codes, n_classes, moment, weights) for each, moment in forms]

    waiting: deque[Future[None]] = deque()
    with ExitStack() as stack:
        stack.enter_context(blas().limit(limits=1))
        stack.enter_context(memory_kept())
        lanes = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(count)]
        for number, batch in enumerate(batches):
            lane = number % count
            waiting.append(lanes[lane].submit(take, parts[lane], batch))
            if len(waiting) > AHEAD * count:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    empty = [GaussianStatistics.empty(n_classes, form.transform.width, form.moment) for form in forms]
    found = [part for part in parts if part] or [empty]
    return [reduce(GaussianStatistics.merge, each) for each in zip(*found, strict=True)]


@contextmanager
def ahead(items: Iterable[T]) -> Iterator[Iterator[T]]:
    """Give `items` in order, each computed by a second thread while the caller works on the one before.

    Every product has one BLAS thread meanwhile. With one worker, items are computed when they are asked for.
    """
    if workers() == 1:
        yield iter(items)
        return
    rest, none = iter(items), object()
    with blas().limit(limits=1), ThreadPoolExecutor(1) as lane:

        def each() -> Iterator[T]:
            following: Future[Any] = lane.submit(next, rest, none)
            while (item := following.result()) is not none:
                following = lane.submit(next, rest, none)
                yield item

        yield each()


def by_class(batch: Batch) -> Batch:
    """Return the rows of a batch in the order of their classes, which saves each form of statistics this step."""
    order = np.argsort(batch.codes, kind="stable")
    return Batch(batch.X[order], batch.codes[order], None if batch.weights is None else batch.weights[order])


def shares(X: NDArray[Any], codes: NDArray[np.integer[Any]], weights: NDArray[np.float64] | None = None) -> list[Batch]:
    """Split rows into one batch for each worker, of neighbouring rows and nearly equal size.

    This is a list, not a generator: a generator would call `workers` inside `gather`, where BLAS has one thread.
    """
    ends = np.linspace(0, len(X), workers() + 1).astype(int).tolist()
    return [
        Batch(X[start:end], codes[start:end], None if weights is None else weights[start:end])
        for start, end in pairwise(ends)
    ]
