"""Where the time of a backfill goes: how long each stage was busy, how long it waited, and which one limits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

Stage = Literal["read", "decode", "prepare", "encode", "write"]
_POOLS: tuple[tuple[Stage, ...], ...] = (("read",), ("decode", "prepare"), ("encode",), ("write",))
"""Stages that share threads."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage of a run that is over, in seconds summed over its threads.

    Attributes:
        waiting: of its threads, for the stages before or behind it; `decode` and `prepare` share theirs.
        per_second: items a second if its threads had done nothing else.
    """

    threads: int
    busy: float
    waiting: float
    per_second: float


@dataclass(slots=True)
class Profile:
    """Filled by all threads of a run. Seconds are by the clock: what else the cores did meanwhile is in them."""

    decoders: int = 1
    busy: dict[Stage, float] = field(default_factory=dict)
    items: dict[Stage, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def add(self, stage: Stage, items: int, seconds: float) -> None:
        with self._lock:
            self.busy[stage] = self.busy.get(stage, 0.0) + seconds
            self.items[stage] = self.items.get(stage, 0) + items

    @contextmanager
    def stage(self, stage: Stage, items: int = 1) -> Iterator[None]:
        """Times the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, items, time.perf_counter() - start)

    def stages(self, seconds: float) -> dict[Stage, StageTime]:
        """Of a run that took so long, in the order that an item goes through."""
        found: dict[Stage, StageTime] = {}
        for pool in _POOLS:
            threads = self._threads(pool)
            waiting = max(threads * seconds - self._busy(pool), 0.0)
            for stage in pool:
                busy = self.busy.get(stage, 0.0)
                rate = self.items.get(stage, 0) * threads / busy if busy else 0.0
                found[stage] = StageTime(threads, busy, waiting, rate)
        return found

    def limit(self, seconds: float) -> tuple[str, float]:
        """The stage, or the stages that share threads, with the busiest threads; which part of the time they were."""
        shares = {
            " and ".join(pool): self._busy(pool) / (self._threads(pool) * seconds) if seconds else 0.0
            for pool in _POOLS
        }
        slowest = max(shares, key=shares.__getitem__)
        return slowest, min(shares[slowest], 1.0)

    def _threads(self, pool: tuple[Stage, ...]) -> int:
        return self.decoders if "decode" in pool else 1

    def _busy(self, pool: tuple[Stage, ...]) -> float:
        return sum(self.busy.get(stage, 0.0) for stage in pool)
