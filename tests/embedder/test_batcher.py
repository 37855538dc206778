"""The batcher with real threads. Tests wait for events, never for a time."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from helpers.scripted_model import Model, queued, run

from embedder.batcher import Batcher
from embedder.errors import QueueFull


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
        with pytest.raises(QueueFull, match=r"3 items wait, 3 more do not fit in 5; try again in 1\.0 s") as caught:
            await batcher.submit([4, 5, 6])
        assert caught.value.retry_after == 1.0  # no batch has been timed yet
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
        assert caught.value.retry_after == pytest.approx(2.0 * (2 + 2))  # two items run, two do not fit
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


def test_a_caller_sees_the_wait_and_the_batches_of_its_own_items_only() -> None:
    async def test() -> None:
        mine: list[str] = []
        others: list[str] = []
        batcher = Batcher(Model(), max_batch=2)
        await batcher.start()
        await asyncio.gather(
            batcher.submit([1, 2, 3], lambda stage, _: mine.append(stage)),
            batcher.submit([4], lambda stage, _: others.append(stage)),
            batcher.submit([5]),
        )
        assert mine == ["queue", "encode"] * 2  # three items in batches of two
        assert others == ["queue", "encode"]
        await batcher.stop()

    run(test())


@pytest.mark.parametrize("limits", [{"max_batch": 0}, {"max_queue": 0}, {"lanes": 0}])
def test_limits_below_one_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Batcher(Model(), **limits)


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_callers_of_whom_many_leave_each_get_their_own_answer_once(seed: int, lanes: int) -> None:
    async def test() -> None:
        chance = random.Random(seed)
        model = Model()
        batcher = Batcher(model, max_batch=32, max_queue=10_000, lanes=lanes)
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
