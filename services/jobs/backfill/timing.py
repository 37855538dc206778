"""Timing of a backfill: how long each stage was busy, how long it waited, and which stage limits the rate."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

Stage = Literal["read", "decode", "prepare", "encode", "write"]
_POOLS: tuple[tuple[Stage, ...], ...] = (("read",), ("decode", "prepare"), ("encode",), ("write",))
"""The stages in each pool of threads, in the order in which an item passes them."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage of a finished run.

    Attributes:
        threads: threads of its pool.
        busy: seconds of work, summed over the threads.
        waiting: seconds in which the threads waited for other stages, summed; `decode` and `prepare` share them.
        per_second: items a second that the threads would do if they did nothing else.
    """

    threads: int
    busy: float
    waiting: float
    per_second: float


@dataclass(slots=True)
class Profile:
    """Seconds and items of every stage, added by all threads of a run. Wall-clock time: a shared core counts fully.

    Attributes:
        decoders: threads that decode and prepare.
        encoders: batches that are encoded at once, each on a thread. On a GPU they share the device, so two batches
            may both be busy while it computes one of them.
    """

    decoders: int = 1
    encoders: int = 1
    busy: dict[Stage, float] = field(default_factory=dict)
    items: dict[Stage, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def add(self, stage: Stage, items: int, seconds: float) -> None:
        with self._lock:
            self.busy[stage] = self.busy.get(stage, 0.0) + seconds
            self.items[stage] = self.items.get(stage, 0) + items

    @contextmanager
    def stage(self, stage: Stage, items: int = 1) -> Iterator[None]:
        """Measure the time of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, items, time.perf_counter() - start)

    def stages(self, seconds: float) -> dict[Stage, StageTime]:
        """Return the times of every stage of a run of `seconds`, in the order in which an item passes them."""
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
        """Return the busiest stage (or stages that share threads) and the share of `seconds` in which it was busy."""
        shares = {
            " and ".join(pool): self._busy(pool) / (self._threads(pool) * seconds) if seconds else 0.0
            for pool in _POOLS
        }
        slowest = max(shares, key=shares.__getitem__)
        return slowest, min(shares[slowest], 1.0)

    def _threads(self, pool: tuple[Stage, ...]) -> int:
        return {"decode": self.decoders, "encode": self.encoders}.get(pool[0], 1)

    def _busy(self, pool: tuple[Stage, ...]) -> float:
        return sum(self.busy.get(stage, 0.0) for stage in pool)
