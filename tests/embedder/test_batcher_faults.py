"""Clients leave, models fail, the service stops: every caller of the batcher gets an answer."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest
from helpers.scripted_model import Model, queued, run

from embedder.batcher import Batcher
from embedder.errors import BatcherStopped


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
        with pytest.raises(BatcherStopped, match="before this submission was answered; send it again"):
            await waiting  # at once, although the model is still busy
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
            with pytest.raises(RuntimeError, match="already runs"):
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
