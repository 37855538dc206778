"""Where the seconds of a run go: a clock for each phase, stopped while another phase runs inside it."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Spent(NamedTuple):
    """Seconds on the wall clock, and seconds of processor time of all threads."""

    wall: float = 0.0
    cpu: float = 0.0

    def plus(self, wall: float, cpu: float) -> "Spent":
        return Spent(self.wall + wall, self.cpu + cpu)


class Phases:
    """The time that each phase took, without the phases that ran inside it. One thread uses it.

    Attributes:
        spent: time by phase, in the order in which phases began.
    """

    def __init__(self, rest: str = "everything else") -> None:
        self.spent: dict[str, Spent] = {}
        self._open = [rest]
        self._since = time.perf_counter(), time.process_time()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of this context for a phase."""
        self._turn()
        self._open.append(name)
        self.spent.setdefault(name, Spent())
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def watch(self, name: str, owner: Any, *attributes: str) -> None:
        """Replace functions of a module or class by ones whose time counts for a phase."""
        for attribute in attributes:
            setattr(owner, attribute, self._counted(name, getattr(owner, attribute)))

    def lines(self) -> list[str]:
        """Return a table of the phases as text."""
        self._turn()
        each = [f"{name:<58}{spent.wall:7.2f} s{spent.cpu:9.2f} s" for name, spent in self.spent.items()]
        return [f"{'phase':<58}{'wall':>9}{'processor':>11}", *each]

    def _counted(self, name: str, function: Any) -> Any:
        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return counted

    def _turn(self) -> None:
        """Give the time since the last change of phase to the phase that is open."""
        wall, cpu = time.perf_counter(), time.process_time()
        name = self._open[-1]
        before = self.spent.get(name, Spent())
        self.spent[name] = before.plus(wall - self._since[0], cpu - self._since[1])
        self._since = wall, cpu
