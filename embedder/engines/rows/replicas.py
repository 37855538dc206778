"""Replicas: the same networks on several devices, each call on the one that is least busy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from embedder.encoder import Engine, Graph, Pace, Run


def on_devices(devices: Sequence[str], make: Callable[[str], Engine]) -> Engine:
    """Return the engine of one device, or replicas on several.

    Args:
        make: returns the engine of a device.
    """
    engines = [make(device) for device in devices]
    return engines[0] if len(engines) == 1 else Replicas(engines)


class Replicas:
    """Several engines that give equal numbers. Implements `embedder.encoder.Engine`.

    The first engine names them all: the precision is chosen, and the probe passed, on its device.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._counts = [0] * len(engines)
        self._turn = Lock()

    @property
    def name(self) -> str:
        return self._engines[0].name

    @property
    def machine(self) -> str:
        return f"{len(self._engines)} of {self._engines[0].machine}"

    def compile(self, graph: Graph) -> Run:
        return _Spread(self, [engine.compile(graph) for engine in self._engines])

    @contextmanager
    def least_busy(self) -> Iterator[int]:
        """Choose the engine with the fewest calls under way, of all networks, for one more call."""
        with self._turn:
            chosen = self._counts.index(min(self._counts))
            self._counts[chosen] += 1
        try:
            yield chosen
        finally:
            with self._turn:
                self._counts[chosen] -= 1


class _Spread:
    """One network on every device."""

    def __init__(self, replicas: Replicas, runs: Sequence[Run]) -> None:
        self._replicas, self._runs = replicas, runs

    @cached_property
    def pace(self) -> Pace:
        paces = [run.pace for run in self._runs]
        return Pace(min(pace.rows for pace in paces), sum(pace.lanes for pace in paces))

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        with self._replicas.least_busy() as chosen:
            return self._runs[chosen](inputs)
