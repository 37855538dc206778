"""A door: an operation that acknowledges something, and what must be true of it whenever it is disturbed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

Acknowledge = Callable[[str], None]
"""Called with the key of something that the operation has just acknowledged."""

State = Mapping[str, Any]
"""All that a reader can see, by key. Equal values mean equal content."""


class Violation(AssertionError):
    """A promise was broken."""


class Vector:
    """A stored vector. Two are equal if they have the same direction and length, up to rounding."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values, np.float64).ravel()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vector)
            and self.values.shape == other.values.shape
            and bool(np.linalg.norm(self.values - other.values) <= 1e-4 * max(1e-9, np.linalg.norm(self.values)))
        )

    __hash__ = None  # type: ignore[assignment]  # equal up to rounding

    def __repr__(self) -> str:
        return f"Vector({self.values[:3].round(4).tolist()}…)"


class Door(ABC):
    """An operation. `prepare` and `state` run in the harness, `run` in a process that is disturbed.

    Attributes:
        name: name on the command line.
        ways: how it may be disturbed besides kills.
        modules: what the process imports before it is forked, because importing takes long.
        passing: values that a key may have only while the operation is unfinished.
    """

    name: ClassVar[str]
    ways: ClassVar[tuple[str, ...]] = ("int", "term", "full", "read-only")
    modules: ClassVar[tuple[str, ...]] = ()
    passing: ClassVar[State] = {}

    @abstractmethod
    def prepare(self, home: Path) -> None:
        """Fill the empty folder `home` with all that the operation needs."""

    @abstractmethod
    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        """Perform the operation. It may be performed again after it was disturbed."""

    @abstractmethod
    def state(self, home: Path) -> State:
        """Return all that a reader can see. Raises Violation for what no reader may ever see."""

    def write_beside(self, home: Path) -> None:  # noqa: B027  # most operations write whenever they are run
        """Write something new beside, if `run` has nothing left to do the second time: writers remove leftovers."""

    def leftovers(self, home: Path) -> set[str]:
        """Return the temporary files and folders below `home`."""
        names = ("*.partial", ".new-*", ".exporting-*", ".making-*", "*.tmp")
        return {path.relative_to(home).as_posix() for name in names for path in home.rglob(name)}


def between(door: Door, before: State, earlier: State, now: State, done: State) -> None:
    """Check a state in the middle of the operation.

    Args:
        before: the state before the operation.
        earlier: the state at the previous disturbance, or `before`.
        done: the state after an undisturbed operation.
    """
    for key, value in now.items():
        if not any(key in each and each[key] == value for each in (before, done, door.passing)):
            raise Violation(f"{key} is neither what it was nor what it becomes: {value!r:.200}")
    for key, value in earlier.items():
        if key not in now and (key in done or key not in before):
            raise Violation(f"{key} is gone")
        if key in now and now[key] != value and key in done and value == done[key]:
            raise Violation(f"{key} went back from {value!r:.100} to {now[key]!r:.100}")


def kept(acknowledged: tuple[str, ...], now: State, done: State) -> None:
    """Check that everything acknowledged is there."""
    for key in acknowledged:
        if key not in done:
            raise Violation(f"{key} was acknowledged, and no undisturbed operation makes it")
        if key not in now:
            raise Violation(f"{key} was acknowledged and is lost")
        if now[key] != done[key]:
            raise Violation(f"{key} was acknowledged and is {now[key]!r:.100}, not {done[key]!r:.100}")


def equal(now: State, done: State) -> None:
    """Check that the operation, run again to its end, gives what an undisturbed one gives."""
    for key in sorted(now.keys() | done.keys()):
        if key not in now:
            raise Violation(f"{key} is missing at the end")
        if key not in done:
            raise Violation(f"{key} is too much at the end")
        if now[key] != done[key]:
            raise Violation(f"{key} is {now[key]!r:.100} at the end, not {done[key]!r:.100}")
