"""Disturbs the operation of a door again and again, checks what is left each time, and counts."""

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import numpy as np

from . import door as doors
from .door import Door, State, Violation
from .moments import FAULTS, KILL, Ended, Moment, draw, place
from .nursery import Nursery

LONGEST = 3
"""Most disturbances of one operation before it is run to its end."""

_MEMORY, _ROOM = Path("/dev/shm"), 500_000_000


@contextmanager
def fast_folder() -> Iterator[Path]:
    """Yield an empty folder, in memory if there is room: on a disk, every fsync waits, which no kill can notice."""
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    with TemporaryDirectory(prefix="faults-", dir=_MEMORY if in_memory else None) as folder:
        yield Path(folder).resolve()


@dataclass
class Tally:
    """What was done at one door.

    Attributes:
        places: the different calls of an undisturbed run, without random parts.
        reached: those before which a process was disturbed.
        ends: number of disturbed processes by how they ended.
        violations: what was broken, after the options that show it again.
    """

    name: str
    places: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)
    kills: int = 0
    exact: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    HEADER = f"{'door':<18}{'kills':>7}{'exact':>7}{'signals':>9}{'faults':>8}{'calls':>14}{'seconds':>9}  outcome"

    def __str__(self) -> str:
        reached = f"{len(self.reached)} of {len(self.places)}"
        outcome = f"{len(self.violations)} violations" if self.violations else "ok"
        signals, faults = self.ends["signal"], self.ends["fault"]
        return (
            f"{self.name:<18}{self.kills:>7}{self.exact:>7}{signals:>9}{faults:>8}{reached:>14}{self.seconds:>9.1f}"
            f"  {outcome}"
        )


class Campaign:
    """The trials at one door. Each begins with a fresh copy of what the door prepares.

    Args:
        folder: an empty folder.
    """

    def __init__(self, door: Door, nursery: Nursery, folder: Path, seed: int) -> None:
        self.door, self.nursery, self.folder, self.seed = door, nursery, folder, seed
        self.tally = Tally(door.name)
        self._template = folder / "template"
        self._template.mkdir(parents=True)
        door.prepare(self._template)
        self.before = door.state(self._template)
        self.whole, self.done, self.left = self._undisturbed()
        self.tally.places = set(map(place, self.whole.calls))

    def _undisturbed(self) -> tuple[Ended, State, set[str]]:
        with self._home() as home:
            whole = self.nursery.run(self.door, home)
            if whole.how != "0":
                raise Violation(f"{self.door.name} does not end undisturbed: {whole.how}")
            done = self.door.state(home)
            doors.kept(whole.acknowledged, done, done)
            if not whole.acknowledged or done == self.before:
                raise Violation(f"{self.door.name} acknowledges nothing, or changes nothing")
            self.nursery.run(self.door, home)
            doors.equal(self.door.state(home), done)
            return whole, done, self.door.leftovers(home)

    def until(self, kills: int, seconds: float) -> Tally:
        """Run trials until so many kills or seconds are reached, and return the tally."""
        for _ in self.trials():
            if self.tally.kills >= kills or self.tally.seconds >= seconds:
                break
        return self.tally

    def trials(self) -> Iterator[int]:
        """Yield the number of each trial after it was run; there is no last one."""
        for number in count():
            start = time.monotonic()
            try:
                self.trial(self._moments(number))
            except Violation as error:
                self.tally.violations.append(str(error))
            self.tally.seconds += time.monotonic() - start
            yield number

    def _moments(self, number: int) -> Iterator[Moment]:
        """Yield one to three moments. Three of four trials begin with the next call, so that none is left out."""
        random = np.random.default_rng([self.seed, crc32(self.door.name.encode()), number])
        order = np.random.default_rng(self.seed).permutation(len(self.whole.calls)) + 1
        first = int(order[(number - number // 4 - 1) % len(order)]) if len(order) and number % 4 else 0
        for round_ in range(int(random.integers(1, LONGEST + 1))):
            exact = 0 if round_ else first
            yield draw(random, len(self.whole.calls), self.whole.seconds, self.door.ways, exact)

    def trial(self, moments: Iterable[Moment]) -> None:
        """Disturb the operation at these moments, one after the other, then run it to its end.

        Raises Violation, with the options that show it again.
        """
        seen: list[tuple[Moment, Ended]] = []
        with self._home() as home:
            earlier = self.before
            try:
                for moment in moments:
                    ended = self.nursery.run(self.door, home, moment)
                    seen.append((moment.seen(ended), ended))
                    earlier = self._check(home, moment, ended, earlier)
                    if ended.how == "0" and not ended.hit:
                        break
                self._finish(home)
            except Violation as error:
                again = ",".join(str(moment) for moment, _ in seen)
                told = "; ".join(f"{moment} {ended.place}: {ended.how:.1500}" for moment, ended in seen)
                raise Violation(f"--door '{self.door.name}' --moments {again}: {error} (after {told})") from error

    def _check(self, home: Path, moment: Moment, ended: Ended, earlier: State) -> State:
        if ended.how.startswith(("crashed", "hung")):
            raise Violation(ended.how)
        if ended.how.startswith("named") and moment.how not in FAULTS:
            raise Violation(ended.how)
        if ended.hit:
            self._count(moment, ended)
        now = self._state(home)
        doors.between(self.door, self.before, earlier, now, self.done)
        doors.kept(ended.acknowledged, now, self.done)
        return now

    def _state(self, home: Path) -> State:
        try:
            return self.door.state(home)
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"what is left cannot be read: {type(error).__name__}: {error}") from error

    def _count(self, moment: Moment, ended: Ended) -> None:
        if moment.how == KILL:
            self.tally.kills += ended.how == "-9"
            self.tally.exact += ended.how == "-9" and bool(moment.call)
        else:
            self.tally.ends["fault" if moment.how in FAULTS else "signal"] += 1
        self.tally.reached |= {ended.place} & self.tally.places

    def _finish(self, home: Path) -> None:
        ended = self.nursery.run(self.door, home)
        if ended.how != "0":
            raise Violation(f"run again, it does not end: {ended.how}")
        now = self._state(home)
        doors.kept(ended.acknowledged, now, self.done)
        doors.equal(now, self.done)
        self.door.write_beside(home)
        if more := self.door.leftovers(home) - self.left:
            raise Violation(f"left behind: {', '.join(sorted(more))}")

    def _home(self) -> "_Copy":
        return _Copy(self._template, self.folder / "home")  # one name, because the store keeps the paths of files


class _Copy:
    """A copy of a folder, removed at the end."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target

    def __enter__(self) -> Path:
        return Path(shutil.copytree(self._source, self._target))

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._target)
