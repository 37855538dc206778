"""The batcher, with real threads; every meeting point is an event, none a sleep."""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest

from embedder.batcher import Batcher
from embedder.errors import BatcherStopped, QueueFull


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


def test_idle_model_gets_a_lone_item_at_once_and_alone() -> None:
    async def test() -> None:
        model = Model()
        batcher = Batcher(model)
        await batcher.start()
        assert await batcher.submit([1]) == [10]
        assert await batcher.submit([2]) == [20]
        assert model.batches == [[1], [2]]
        await batcher.stop()

    run(test())


def test_while_the_model_is_busy_a_full_batch_gathers() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model, max_batch=4)
        await batcher.start()
        tasks = [await queued(batcher, [0])]
        await model.begins()
        tasks += [await queued(batcher, [i]) for i in range(1, 8)]
        assert batcher.depth == 7
        model.free(3)
        assert await asyncio.gather(*tasks) == [[10 * i] for i in range(8)]
        assert model.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
        assert batcher.depth == 0
        await batcher.stop()

    run(test())


def test_everything_runs_on_one_own_thread_which_ends_with_stop() -> None:
    async def test() -> None:
        model = Model()
        batcher = Batcher(model, max_batch=2)
        await batcher.start()
        await asyncio.gather(*(batcher.submit([i]) for i in range(20)))
        (ident,) = model.threads
        assert ident != threading.get_ident()
        (thread,) = [t for t in threading.enumerate() if t.ident == ident]
        await batcher.stop()
        await asyncio.to_thread(thread.join, 20)
        assert not thread.is_alive()

    run(test())


def test_large_submissions_are_split_and_served_first_come_first_served() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model, max_batch=4)
        await batcher.start()
        tasks = [await queued(batcher, [0])]
        await model.begins()
        tasks += [
            await queued(batcher, range(1, 11)),
            await queued(batcher, [11]),
            await queued(batcher, [12, 13]),
        ]
        model.free(10)
        answers = await asyncio.gather(*tasks)
        assert answers == [[0], [10 * i for i in range(1, 11)], [110], [120, 130]]
        assert [item for batch in model.batches for item in batch] == list(range(14))
        assert [len(batch) for batch in model.batches] == [1, 4, 4, 4, 1]
        await batcher.stop()

    run(test())


def test_results_may_be_the_rows_of_an_array() -> None:
    async def test() -> None:
        batcher: Batcher[int, Any] = Batcher(lambda items: np.array([[i, 2 * i] for i in items]))
        await batcher.start()
        assert np.array_equal(await batcher.submit([3, 4]), [[3, 6], [4, 8]])
        await batcher.stop()

    run(test())


def test_no_items_no_results_no_call() -> None:
    async def test() -> None:
        model = Model()
        batcher = Batcher(model)
        await batcher.start()
        assert await batcher.submit([]) == []
        assert model.batches == []
        await batcher.stop()

    run(test())


def test_a_full_queue_refuses_at_once_and_takes_all_of_a_submission_or_nothing() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model, max_batch=2, max_queue=5)
        await batcher.start()
        tasks = [await queued(batcher, [0])]
        await model.begins()
        tasks.append(await queued(batcher, [1, 2, 3]))
        with pytest.raises(
            QueueFull, match=r"3 items wait, 3 more do not fit in 5; try again in 1\.0 s"
        ) as caught:
            await batcher.submit([4, 5, 6])
        assert caught.value.retry_after == 1.0  # nothing timed yet
        assert batcher.depth == 3
        tasks.append(await queued(batcher, [4, 5]))  # these two still fit
        model.free(10)
        assert await asyncio.gather(*tasks) == [[0], [10, 20, 30], [40, 50]]
        await batcher.stop()

    run(test())


def test_retry_after_is_judged_by_recent_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    def run_two_seconds_an_item(items: list[int]) -> list[int]:
        nonlocal clock
        clock += 2.0 * len(items)
        return model(items)

    monkeypatch.setattr("embedder.batcher.time.perf_counter", lambda: clock)
    model = Model(permits=1)

    async def test() -> None:
        batcher = Batcher(run_two_seconds_an_item, max_batch=4, max_queue=4)
        await batcher.start()
        await batcher.submit([0])
        await model.begins()
        tasks = [await queued(batcher, [1, 2])]
        await model.begins()
        tasks.append(await queued(batcher, [3, 4, 5]))
        with pytest.raises(QueueFull) as caught:
            await batcher.submit([6, 7, 8])
        assert caught.value.retry_after == pytest.approx(2.0 * (2 + 2))  # two under way, two too many
        model.free(10)
        await asyncio.gather(*tasks)
        await batcher.stop()

    run(test())


def test_a_submission_that_never_fits_is_told_so() -> None:
    async def test() -> None:
        batcher = Batcher(Model(), max_queue=3)
        await batcher.start()
        with pytest.raises(ValueError, match="4 items in one submission; the queue holds 3"):
            await batcher.submit([1, 2, 3, 4])
        await batcher.stop()

    run(test())


def test_entries_of_a_client_that_has_gone_are_dropped_and_give_their_room_back() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model, max_batch=4, max_queue=4)
        await batcher.start()
        first = await queued(batcher, [0])
        await model.begins()
        leaving = await queued(batcher, [1, 2, 3])
        staying = await queued(batcher, [4])
        leaving.cancel()
        await asyncio.wait({leaving})
        late = await queued(batcher, [5, 6, 7])  # fits only because the three have left
        model.free(10)
        assert await asyncio.gather(first, staying, late) == [[0], [40], [50, 60, 70]]
        assert model.batches == [[0], [4, 5, 6, 7]]
        await batcher.stop()

    run(test())


def test_a_client_that_leaves_during_its_batch_leaves_its_mates_their_answers() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model)
        await batcher.start()
        tasks = [asyncio.create_task(batcher.submit([i])) for i in range(3)]
        await model.begins()
        tasks[1].cancel()
        model.free(10)
        assert await asyncio.gather(tasks[0], tasks[2]) == [[0], [20]]
        assert tasks[1].cancelled()
        assert await batcher.submit([9]) == [90]
        await batcher.stop()

    run(test())


def test_an_exception_reaches_every_entry_of_its_batch_and_the_loop_lives_on() -> None:
    async def test() -> None:
        model = Model(permits=0)

        def picky(items: list[int]) -> list[int]:
            answers = model(items)
            if 13 in items:
                raise ArithmeticError("13 is not to my taste")
            return answers

        batcher = Batcher(picky, max_batch=2)
        await batcher.start()
        tasks = [await queued(batcher, [0])]
        await model.begins()
        tasks += [await queued(batcher, items) for items in ([1], [13, 14, 15], [16])]
        model.free(10)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[0] == [0]
        assert all(isinstance(answer, ArithmeticError) for answer in answers[1:3])
        assert answers[3] == [160]
        # 14 and 15 belong to a submission that has failed: they are not computed.
        assert model.batches == [[0], [1, 13], [16]]
        await batcher.stop()

    run(test())


@pytest.mark.parametrize(
    "fault",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(),
        asyncio.CancelledError(),
        CancelledError(),
        MemoryError(),
    ],
    ids=repr,
)
def test_no_exception_whatever_kills_the_worker_or_leaves_a_caller_waiting(fault: BaseException) -> None:
    async def test() -> None:
        faults = [fault]

        def fails_once(items: list[int]) -> list[int]:
            if faults:
                raise faults.pop()
            return items

        batcher = Batcher(fails_once)
        await batcher.start()
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            await batcher.submit([1])
        assert fault in (caught.value, caught.value.__cause__)
        assert await batcher.submit([2]) == [2]
        await batcher.stop()

    run(test())


@pytest.mark.parametrize("wrong", [lambda items: items[1:], lambda items: [*items, 0], lambda items: []])
def test_a_wrong_number_of_results_is_an_error_of_the_batch(wrong: Callable[[list[int]], list[int]]) -> None:
    async def test() -> None:
        batcher = Batcher(lambda items: wrong(items) if len(items) == 3 else items)
        await batcher.start()
        with pytest.raises(RuntimeError, match=r"\d results for a batch of 3: the encoder is at fault"):
            await batcher.submit([1, 2, 3])
        assert await batcher.submit([1]) == [1]
        await batcher.stop()

    run(test())


def test_results_that_are_no_sequence_are_an_error_of_the_batch() -> None:
    async def test() -> None:
        batcher: Batcher[int, int] = Batcher(lambda items: None)
        await batcher.start()
        with pytest.raises(TypeError):
            await batcher.submit([1])
        await batcher.stop()

    run(test())


def test_stop_finishes_the_batch_under_way_and_fails_the_queued() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model)
        await batcher.start()
        under_way = await queued(batcher, [1])
        await model.begins()
        waiting = await queued(batcher, [2, 3])
        stopping = asyncio.create_task(batcher.stop())
        with pytest.raises(BatcherStopped, match="before this was answered; send it again"):
            await waiting  # told at once: the model is still busy
        with pytest.raises(BatcherStopped, match="not running"):
            await batcher.submit([4])
        assert not stopping.done()
        model.free()
        assert await under_way == [10]
        await stopping
        assert (model.batches, batcher.depth) == ([[1]], 0)

    run(test())


def test_a_stop_that_is_itself_cancelled_still_lets_the_batch_finish() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model)
        await batcher.start()
        under_way = await queued(batcher, [1])
        await model.begins()
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait({stopping})
        model.free()
        assert await under_way == [10]
        await batcher.stop()

    run(test())


def test_start_stop_start() -> None:
    async def test() -> None:
        batcher = Batcher(Model())
        with pytest.raises(BatcherStopped):
            await batcher.submit([1])
        await batcher.stop()  # nothing to stop
        for _ in range(2):
            await batcher.start()
            with pytest.raises(RuntimeError, match="running already"):
                await batcher.start()
            assert await batcher.submit([1]) == [10]
            await batcher.stop()
            await batcher.stop()

    run(test())


@pytest.mark.parametrize("before_its_first_step", [True, False])
def test_a_dead_worker_leaves_nobody_waiting(before_its_first_step: bool) -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model)
        others = asyncio.all_tasks()
        await batcher.start()
        (worker,) = asyncio.all_tasks() - others
        tasks = [await queued(batcher, [1])] if not before_its_first_step else []
        if not before_its_first_step:
            await model.begins()
        waiting = asyncio.create_task(batcher.submit([2]))
        worker.cancel()
        answers = await asyncio.gather(*tasks, waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [BatcherStopped] * len(answers)
        with pytest.raises(BatcherStopped):
            await batcher.submit([3])
        model.free(10)
        await batcher.stop()

    run(test())


def test_waits_and_batches_are_observed() -> None:
    async def test() -> None:
        seen: list[tuple[str, float]] = []
        batcher = Batcher(Model(), observe=lambda stage, seconds: seen.append((stage, seconds)))
        await batcher.start()
        await batcher.submit([1, 2])
        assert [stage for stage, _ in seen] == ["queue", "queue", "encode"]
        assert all(seconds >= 0 for _, seconds in seen)
        await batcher.stop()

    run(test())


@pytest.mark.parametrize("limits", [{"max_batch": 0}, {"max_queue": 0}])
def test_limits_below_one_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Batcher(Model(), **limits)


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_callers_of_whom_many_leave_each_get_their_own_answer_once(seed: int) -> None:
    async def test() -> None:
        chance = random.Random(seed)
        model = Model()
        batcher = Batcher(model, max_batch=32, max_queue=10_000)
        await batcher.start()
        wanted = [[3 * i + k for k in range(chance.randint(1, 3))] for i in range(1000)]
        tasks = []
        for items in wanted:
            tasks.append(asyncio.create_task(batcher.submit(items)))
            if chance.random() < 0.2:
                chance.choice(tasks).cancel()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        survivors = [i for i, task in enumerate(tasks) if not task.cancelled()]
        assert 500 < len(survivors) < 1000
        assert all(answers[i] == [10 * item for item in wanted[i]] for i in survivors)
        computed = [item for batch in model.batches for item in batch]
        assert len(computed) == len(set(computed))
        assert {item for i in survivors for item in wanted[i]} <= set(computed)
        assert max(map(len, model.batches)) <= 32
        assert batcher.depth == 0
        await batcher.stop()

    run(test())
