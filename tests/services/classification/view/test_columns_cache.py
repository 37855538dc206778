"""Shared results are computed once, kept within bounds, and survive requests that end early."""

import asyncio
import threading
from dataclasses import dataclass

import pytest

from services.classification.view import columns_cache
from services.classification.view.columns_cache import SharedResults


@dataclass(frozen=True)
class Result:
    name: str
    nbytes: int


class Maker:
    """Counts what it makes, and waits for `go`."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.go = threading.Event()

    def __call__(self, name: str, nbytes: int = 1) -> Result:
        assert self.go.wait(10)
        self.made.append(name)
        if name == "broken":
            raise LookupError(name)
        return Result(name, nbytes)


def test_requests_at_once_wait_for_one_computation():
    async def run() -> None:
        shared, make = SharedResults(), Maker()
        asked = [asyncio.create_task(shared.get("a", make, "a")) for _ in range(5)]
        await asyncio.sleep(0.05)
        make.go.set()
        found = await asyncio.gather(*asked)
        assert all(each is found[0] for each in found)
        assert await shared.get("a", make, "a") is found[0]
        assert make.made == ["a"]

    asyncio.run(run())


def test_a_request_that_ends_early_does_not_end_the_computation():
    async def run() -> None:
        shared, make = SharedResults(), Maker()
        first, second = (asyncio.create_task(shared.get("a", make, "a")) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        make.go.set()
        assert (await second).name == "a"
        assert first.cancelled()
        assert make.made == ["a"]

    asyncio.run(run())


def test_a_failure_is_answered_to_all_who_wait_and_is_not_kept():
    async def run() -> None:
        shared, make = SharedResults(), Maker()
        make.go.set()
        found = await asyncio.gather(*(shared.get("b", make, "broken") for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in found] == [LookupError] * 3
        with pytest.raises(LookupError):
            await shared.get("b", make, "broken")
        assert make.made == ["broken"] * 2

    asyncio.run(run())


def test_the_least_used_results_make_room(monkeypatch):
    monkeypatch.setattr(columns_cache, "MOST_BYTES", 100)

    async def run() -> None:
        shared, make = SharedResults(), Maker()
        make.go.set()
        for name, size in (("a", 40), ("b", 40), ("a", 40), ("c", 40)):
            await shared.get(name, make, name, size)
        assert shared.nbytes == 80
        await shared.get("a", make, "a", 40)
        await shared.get("b", make, "b", 40)
        assert make.made == ["a", "b", "c", "b"]
        await shared.get("d", make, "d", 1000)
        assert shared.nbytes == 1000

    asyncio.run(run())


def test_slow_results_do_not_hold_up_others():
    async def run() -> None:
        shared, slow, quick = SharedResults(), Maker(), Maker()
        quick.go.set()
        waiting = [asyncio.create_task(shared.get(n, slow, str(n), slow=True)) for n in range(4)]
        await asyncio.sleep(0.05)
        assert (await asyncio.wait_for(shared.get("q", quick, "q"), 5)).name == "q"
        slow.go.set()
        assert [each.name for each in await asyncio.gather(*waiting)] == ["0", "1", "2", "3"]

    asyncio.run(run())
