"""A batcher without a timer: items queue while batches run, and the queued items are the next batch."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from embedder.errors import BatcherStopped, QueueFull

Item = TypeVar("Item")
Result = TypeVar("Result")
Observe = Callable[[str, float], None]
"""Receives "queue" or "encode", and the seconds that it took."""

# Weight of the newest batch in the running mean of seconds per item: about the last ten batches count.
_NEWEST = 0.2
# Value of `retry_after` until a first batch has been timed.
_UNTIMED_SECONDS = 1.0


class _Submission(Generic[Result]):
    """One call of `submit`: its results so far, and the future that its caller awaits."""

    def __init__(self, size: int, watch: Observe | None) -> None:
        self.watch = watch
        self.future: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._results: dict[int, Result] = {}
        self._size = size

    @property
    def gone(self) -> bool:
        """True if nobody waits any more: the caller was cancelled, or another part of the submission failed."""
        return self.future.done()

    def deliver(self, position: int, result: Result) -> None:
        self._results[position] = result
        if len(self._results) == self._size and not self.gone:
            self.future.set_result([self._results[i] for i in range(self._size)])

    def fail(self, error: Exception) -> None:
        if not self.gone:
            self.future.set_exception(error)
            # Reading the error marks it as seen. Otherwise a caller cancelled before it wakes would leave a log line.
            self.future.exception()


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item, Result]):
    submission: _Submission[Result]
    position: int
    item: Item
    arrived: float


class Batcher(Generic[Item, Result]):
    """Gathers the items of concurrent callers into batches for one model.

    Each lane calls `run` on a thread of its own. While all lanes are busy, items queue. A lane that is free takes the
    waiting items at once, first come first served, up to `max_batch`. So an idle model answers a single item without
    added wait, a busy one works on full batches, and no timer has to be tuned. (text-embeddings-inference works so
    too.)

    Args:
        run: takes 1 to `max_batch` items and returns one result each, in order.
        max_batch: largest number of items in one call of `run`.
        max_queue: largest number of items that wait, not counting the batches that run.
        lanes: number of batches that run at once. With one, `run` need not be thread-safe.
        observe: called with ("queue", seconds) for each item when its batch is formed, and with ("encode", seconds) for
            each batch.

    All methods must be called in one event loop.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        *,
        max_batch: int = 32,
        max_queue: int = 256,
        lanes: int = 1,
        observe: Observe | None = None,
    ) -> None:
        if min(max_batch, max_queue, lanes) < 1:
            raise ValueError(
                f"max_batch, max_queue and lanes must be at least 1, got {max_batch}, {max_queue} and {lanes}"
            )
        self._run = run
        self._lanes = lanes
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._observe = observe
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._under_way: dict[int, list[_Entry[Item, Result]]] = {}
        self._seconds_per_item: float | None = None
        self._arrived = asyncio.Event()
        self._stopping = False
        self._worker: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Number of items that wait for a batch."""
        return len(self._queue)

    async def start(self) -> None:
        """Start the worker and its threads. Raises RuntimeError if the worker already runs."""
        if self._worker is not None and not self._worker.done():
            raise RuntimeError("the batcher already runs; call stop() first")
        self._stopping = False
        threads = ThreadPoolExecutor(self._lanes, thread_name_prefix="batcher")
        self._worker = asyncio.create_task(self._work(threads), name="batcher")
        # A callback, not a `finally` in the task: it runs even if the task ends before its first step.
        self._worker.add_done_callback(lambda _: self._leave_nobody_waiting(threads))

    async def stop(self) -> None:
        """Fail all queued items with BatcherStopped at once. Return when the batches that run are answered."""
        self._stopping = True
        self._fail_all(self._queue)
        if self._worker is not None:
            self._arrived.set()
            await asyncio.wait(
                {self._worker}
            )  # unlike a plain await, this does not cancel the worker when we are cancelled

    async def submit(self, items: Sequence[Item], watch: Observe | None = None) -> list[Result]:
        """Return the results of `items`, in order: all or none. Cancel the call to give the items up.

        Args:
            watch: called as `observe` is, once for each batch that has items of this call.

        Raises:
            QueueFull: the queue has no room for all items now. Raised at once.
            ValueError: there are more than `max_queue` items, so they will never fit.
            BatcherStopped: the worker does not run, or stopped before these items had their turn.
            Exception: whatever `run` raised for a batch with one of these items.
        """
        if self._stopping or self._worker is None or self._worker.done():
            raise BatcherStopped("the batcher is not running; submit between start() and stop()")
        if not items:
            return []
        self._make_room(len(items))
        submission: _Submission[Result] = _Submission(len(items), watch)
        now = time.perf_counter()
        self._queue.extend(_Entry(submission, i, item, now) for i, item in enumerate(items))
        self._arrived.set()
        return await submission.future

    def _make_room(self, size: int) -> None:
        if size > self._max_queue:
            raise ValueError(f"{size} items in one submission; the queue holds {self._max_queue}: send fewer")
        if self.depth + size > self._max_queue:
            self._queue = deque(entry for entry in self._queue if not entry.submission.gone)
        excess = self.depth + size - self._max_queue
        if excess > 0:
            retry_after = self._expected_seconds(sum(map(len, self._under_way.values())) + excess)
            raise QueueFull(
                f"the queue is full: {self.depth} items wait, {size} more do not fit in {self._max_queue}; "
                f"try again in {retry_after:.1f} s",
                retry_after,
            )

    def _expected_seconds(self, items: int) -> float:
        return _UNTIMED_SECONDS if self._seconds_per_item is None else items * self._seconds_per_item / self._lanes

    async def _work(self, threads: ThreadPoolExecutor) -> None:
        async with asyncio.TaskGroup() as lanes:
            for number in range(self._lanes):
                lanes.create_task(self._serve(number, threads))

    async def _serve(self, lane: int, threads: ThreadPoolExecutor) -> None:
        while not self._stopping:
            await self._arrived.wait()
            self._under_way[lane] = self._form_batch()
            if self._under_way[lane]:
                await self._answer(self._under_way[lane], threads)
                self._under_way[lane] = []

    def _leave_nobody_waiting(self, threads: ThreadPoolExecutor) -> None:
        threads.shutdown(wait=False)
        for batch in self._under_way.values():
            self._fail_all(batch)
        self._fail_all(self._queue)
        self._under_way = {}
        self._queue.clear()

    def _form_batch(self) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        while self._queue and len(batch) < self._max_batch:
            entry = self._queue.popleft()
            if not entry.submission.gone:
                batch.append(entry)
        if not self._queue:
            self._arrived.clear()
        return batch

    async def _answer(self, batch: list[_Entry[Item, Result]], threads: ThreadPoolExecutor) -> None:
        try:
            begun = time.perf_counter()
            if self._observe:
                for entry in batch:
                    self._observe("queue", begun - entry.arrived)
            items = [entry.item for entry in batch]
            waited = {entry.submission.watch: begun - entry.arrived for entry in batch if entry.submission.watch}
            for watch, seconds in waited.items():
                watch("queue", seconds)
            results = await asyncio.get_running_loop().run_in_executor(threads, self._checked_run, items)
            seconds = time.perf_counter() - begun
            self._timed(seconds, len(batch))
            for watch in waited:
                watch("encode", seconds)
        except Exception as error:
            for entry in batch:
                entry.submission.fail(error)
            return
        for entry, result in zip(batch, results, strict=True):
            entry.submission.deliver(entry.position, result)

    def _checked_run(self, items: list[Item]) -> list[Result]:
        """Call `run` on a lane's thread. Return one result per item, or raise an exception a future can carry."""
        try:
            results = list(self._run(items))
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, (StopIteration, CancelledError)):
                raise
            # SystemExit would end the event loop; StopIteration and CancelledError would be lost in the future.
            raise RuntimeError(
                f"the model raised {error!r}, which asyncio would misread; the encoder is at fault"
            ) from error
        if len(results) != len(items):
            raise RuntimeError(f"{len(results)} results for a batch of {len(items)}: the encoder is at fault")
        return results

    def _timed(self, seconds: float, items: int) -> None:
        if self._observe:
            self._observe("encode", seconds)
        newest = seconds / items
        before = newest if self._seconds_per_item is None else self._seconds_per_item
        self._seconds_per_item = (1 - _NEWEST) * before + _NEWEST * newest

    @staticmethod
    def _fail_all(entries: Iterable[_Entry[Item, Result]]) -> None:
        for entry in entries:
            entry.submission.fail(
                BatcherStopped("the batcher stopped before this submission was answered; send it again")
            )
