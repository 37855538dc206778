"""A batcher with two lanes: two batches at once, in the order of arrival, and every caller gets an answer."""

import asyncio
import threading

import pytest
from helpers.scripted_model import Model, queued, run

from embedder.batcher import Batcher
from embedder.errors import BatcherStopped, QueueFull


def test_two_batches_run_at_once_on_two_threads_and_the_rest_gathers() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model, max_batch=4, lanes=2)
        await batcher.start()
        tasks = [await queued(batcher, [0])]
        await model.begins()
        tasks += [await queued(batcher, [1])]
        await model.begins()  # although the first batch still runs
        tasks += [await queued(batcher, [i]) for i in range(2, 9)]
        assert batcher.depth == 7
        model.free(10)
        assert await asyncio.gather(*tasks) == [[10 * i] for i in range(9)]
        assert model.batches == [[0], [1], [2, 3, 4, 5], [6, 7, 8]]
        assert len(model.threads) == 2
        await batcher.stop()

    run(test())


def test_a_free_lane_takes_the_next_batch_while_the_other_is_busy() -> None:
    async def test() -> None:
        hold, batches = threading.Event(), []

        def slow_first(items: list[int]) -> list[int]:
            batches.append(items)
            assert items != [0] or hold.wait(20)
            return items

        batcher = Batcher(slow_first, max_batch=1, lanes=2)
        await batcher.start()
        first = await queued(batcher, [0])
        for i in range(1, 6):
            assert await batcher.submit([i]) == [i]
        assert not first.done()
        hold.set()
        assert await first == [0]
        assert batches == [[0], [1], [2], [3], [4], [5]]
        await batcher.stop()

    run(test())


def test_a_submission_over_two_lanes_comes_back_in_order() -> None:
    async def test() -> None:
        turn = threading.Event()

        def second_first(items: list[int]) -> list[int]:
            if items[0] == 0:
                assert turn.wait(20)
            else:
                turn.set()
            return [10 * item for item in items]

        batcher = Batcher(second_first, max_batch=3, lanes=2)
        await batcher.start()
        assert await batcher.submit(range(6)) == [0, 10, 20, 30, 40, 50]
        await batcher.stop()

    run(test())


def test_a_failing_batch_leaves_the_other_lane_alone() -> None:
    async def test() -> None:
        both = threading.Barrier(2, timeout=20)

        def model(items: list[int]) -> list[int]:
            both.wait()
            if 1 in items:
                raise ValueError("one")
            return items

        batcher = Batcher(model, max_batch=1, lanes=2)
        await batcher.start()
        answers = await asyncio.gather(batcher.submit([1]), batcher.submit([2]), return_exceptions=True)
        assert isinstance(answers[0], ValueError)
        assert answers[1] == [2]
        await batcher.stop()

    run(test())


def test_stop_answers_both_batches_under_way_and_ends_the_threads() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model, max_batch=1, lanes=2)
        await batcher.start()
        under_way = [await queued(batcher, [i]) for i in range(2)]
        await model.begins()
        await model.begins()
        waiting = await queued(batcher, [2])
        threads = [t for t in threading.enumerate() if t.ident in model.threads]
        stopping = asyncio.create_task(batcher.stop())
        with pytest.raises(BatcherStopped):
            await waiting
        assert not stopping.done()
        model.free(2)
        assert await asyncio.gather(*under_way) == [[0], [10]]
        await stopping
        for thread in threads:
            await asyncio.to_thread(thread.join, 20)
            assert not thread.is_alive()

    run(test())


def test_a_dead_worker_leaves_nobody_waiting_in_either_lane() -> None:
    async def test() -> None:
        model = Model(permits=0)
        batcher = Batcher(model, max_batch=1, lanes=2)
        others = asyncio.all_tasks()
        await batcher.start()
        (worker,) = asyncio.all_tasks() - others
        tasks = [await queued(batcher, [i]) for i in range(3)]
        await model.begins()
        await model.begins()
        worker.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [BatcherStopped] * 3
        model.free(10)

    run(test())


def test_items_of_both_lanes_count_for_the_time_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        clock = [0.0]
        monkeypatch.setattr("embedder.batcher.time.perf_counter", lambda: clock[0])
        model = Model(permits=0)
        batcher = Batcher(model, max_batch=2, max_queue=2, lanes=2)
        await batcher.start()
        timed = await queued(batcher, [0, 1])
        await model.begins()
        clock[0] += 8.0  # 4 s an item
        model.free()
        await timed
        tasks = [await queued(batcher, [2, 3])]
        await model.begins()
        tasks += [await queued(batcher, [4, 5])]
        await model.begins()
        tasks += [await queued(batcher, [6, 7])]
        with pytest.raises(QueueFull) as full:
            await batcher.submit([8])
        assert full.value.retry_after == 4.0 * (4 + 1) / 2  # four run, one does not fit; two lanes share the work
        model.free(10)
        await asyncio.gather(*tasks)
        await batcher.stop()

    run(test())
