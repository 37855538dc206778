"""Doors that break a promise each, so that the harness can show that it notices."""

import os
import time
from pathlib import Path

from .door import Acknowledge, Door, State


class Broken(Door):
    """Writes three files, one after the other, correctly."""

    name = "correct"
    ways = ()

    def prepare(self, home: Path) -> None:
        (home / "old").write_text("old")

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        for name in ("a", "b", "old"):
            self.put(home, name)
            acknowledge(name)

    def put(self, home: Path, name: str) -> None:
        (home / "fresh.tmp").write_text("as a whole")
        os.replace(home / "fresh.tmp", home / name)

    def state(self, home: Path) -> State:
        return {path.name: path.read_text() for path in home.iterdir() if path.suffix != ".tmp"}


class AcknowledgesTooEarly(Broken):
    name = "too early"

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        for name in ("a", "b", "old"):
            acknowledge(name)
            self.put(home, name)


class ShowsHalf(Broken):
    name = "half"

    def put(self, home: Path, name: str) -> None:
        with (home / name).open("w", buffering=1) as file:
            file.write("who\n")
            file.seek(0)
            file.write("as a whole")


class LosesTheOld(Broken):
    name = "lost"

    def put(self, home: Path, name: str) -> None:
        (home / name).unlink(missing_ok=True)
        super().put(home, name)


class LeavesFiles(Broken):
    name = "leftovers"

    def put(self, home: Path, name: str) -> None:
        fresh = home / f"{time.monotonic_ns()}.tmp"
        fresh.write_text("as a whole")
        os.replace(fresh, home / name)


class IsNotFinished(Broken):
    name = "unfinished"

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        if not (home / "a").exists():
            super().run(home, acknowledge)


class HidesItsFault(Broken):
    name = "unnamed"
    ways = ("full", "read-only")

    def put(self, home: Path, name: str) -> None:
        try:
            super().put(home, name)
        except OSError:
            raise RuntimeError("something went wrong") from None


def raises(data: bytes, modality: str) -> str:
    raise KeyError("odd")


def aborts(data: bytes, modality: str) -> str:
    os.abort()


def hangs(data: bytes, modality: str) -> str:
    time.sleep(60)
    return "asset"


DOORS: dict[str, Door] = {
    door.name: door()
    for door in (*(Broken, AcknowledgesTooEarly, ShowsHalf, LosesTheOld, LeavesFiles, IsNotFinished, HidesItsFault),)
}
