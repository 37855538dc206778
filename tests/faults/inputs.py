"""Decodes mutated files of every format, each within its time: an asset or a typed error, never anything else.

Each item is reproduced by the seed and its number. The files are decoded in processes of their own, because a codec in
C may end its process; the harness then knows the item.
"""

import multiprocessing
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
from helpers.damage import damaged, files

SECONDS = 5.0
"""Time limit of one item, seconds of the clock; the items have a few kilobytes."""

Read = Callable[[bytes, str], str]
"""Decodes the bytes of a file of a modality, and returns the outcome. Raises what breaks a promise."""

MEMORY = 3 << 30
"""Most address space of a process that decodes, bytes. The limit on pixels keeps each item far below it."""

CHUNK = 250


@dataclass
class Decoded:
    """Outcomes by format and by the reason of a refusal, and the items that broke a promise.

    Attributes:
        violations: what happened, by the number of the item.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0

    def __str__(self) -> str:
        lines = [f"{'format':<26}{'items':>9}{'assets':>9}{'refused':>9}  reasons"]
        for name in sorted({name for name, _ in self.outcomes}):
            reasons = {reason: n for (of, reason), n in sorted(self.outcomes.items()) if of == name}
            total, good = sum(reasons.values()), reasons.pop("asset", 0)
            told = ", ".join(f"{reason} {n}" for reason, n in reasons.items())
            lines.append(f"{name:<26}{total:>9}{good:>9}{total - good:>9}  {told}")
        return "\n".join(lines)


def item(seed: int, number: int) -> tuple[str, bytes, str]:
    """Return the format, the bytes and the modality of an item."""
    random, names = np.random.default_rng([seed, number]), list(_files())
    name = names[number % len(names)]
    data, modality = _files()[name]
    return name, damaged(data, random), modality


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    return files()


def outcome(data: bytes, modality: str) -> str:
    """Return "asset", or the reason of the refusal. Raises what is no BadMedia."""
    from PIL import Image

    from embedder import media
    from embedder.errors import BadMedia

    found = "asset"
    limits = media.Limits(max_pixels=4_000_000, max_seconds=60, max_decode_seconds=SECONDS / 2)
    try:
        decoded = media.decode(data, modality, limits)
        if isinstance(decoded, media.Video):
            decoded.frames([0, decoded.count - 1], Image.Image.copy)
    except BadMedia as error:
        found = error.reason
        str(error).encode()  # a message that cannot be sent would fail later
    for asked in (modality, None):
        with suppress(BadMedia):
            media.inspect(data, asked)
    return found


def _work(seed: int, numbers: range, read: Read, link: Connection) -> None:
    """Decode some items. Tell the number of each before it is decoded, and what came of it afterwards."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)  # codecs print about damage
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    for number in numbers:
        name, data, modality = item(seed, number)
        link.send((number, name, None, 0.0))
        start = time.perf_counter()
        try:
            what = read(data, modality)
        except BaseException as error:
            what = f"!{type(error).__name__}: {error}"
        link.send((number, name, what, time.perf_counter() - start))
    link.close()


@dataclass
class _Worker:
    """A process that decodes a part of the items, and the item that it decodes now."""

    process: BaseProcess
    link: Connection
    numbers: range
    current: int = -1
    name: str = ""
    since: float = 0.0


def decode_all(
    seed: int,
    numbers: range,
    processes: int = 2,
    minutes: float = np.inf,
    read: Read = outcome,
    seconds: float = SECONDS,
) -> Decoded:
    """Decode the items `numbers`, and return what came of them.

    Args:
        minutes: no more items are begun after this time.
        seconds: time limit of one item.
    """
    found, parts = Decoded(), _parts(numbers)
    context, end = multiprocessing.get_context("forkserver"), time.monotonic() + 60 * minutes
    context.set_forkserver_preload([__name__, "embedder.media", "av", "soundfile"])
    workers: list[_Worker] = []

    def start(part: range) -> None:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(seed, part, read, theirs), daemon=True)
        process.start()
        theirs.close()
        workers.append(_Worker(process, ours, part, since=time.monotonic()))

    while workers or parts:
        while parts and len(workers) < processes and time.monotonic() < end:
            start(parts.pop(0))
        if not workers:
            break
        wait([worker.link for worker in workers], timeout=seconds / 5)
        for worker in list(workers):
            gone = _listen(worker, found)
            late = worker.current >= 0 and time.monotonic() - worker.since > seconds
            if late:
                worker.process.kill()
                gone = True
            if gone:
                workers.remove(worker)
                worker.process.join()
                rest = range(max(worker.current + 1, worker.numbers.start), worker.numbers.stop)
                if worker.current >= 0:
                    what = "takes too long" if late else f"ended its process ({worker.process.exitcode})"
                    found.violations[worker.current] = f"{worker.name}: {what}"
                    parts.insert(0, rest)
    return found


def _parts(numbers: range) -> list[range]:
    return [numbers[at : at + CHUNK] for at in range(0, len(numbers), CHUNK)]


def _listen(worker: _Worker, found: Decoded) -> bool:
    """Take all that a worker has told. Return True if it has ended."""
    try:
        while worker.link.poll():
            number, name, what, seconds = worker.link.recv()
            worker.name, worker.since = name, time.monotonic()
            worker.current = number if what is None else -1
            if what is not None:
                _record(found, number, name, what, seconds)
    except EOFError:
        return True
    return False


def _record(found: Decoded, number: int, name: str, what: str, seconds: float) -> None:
    found.slowest = max(found.slowest, seconds)
    if what.startswith("!"):
        found.violations[number] = f"{name}: {what[1:]:.300}"
    else:
        found.outcomes[name, what] += 1


def reproduce(seed: int, number: int) -> Iterator[Any]:
    """Decode one item in this process, and yield its format, its bytes and its outcome."""
    name, data, modality = item(seed, number)
    yield name
    yield data
    yield outcome(data, modality)
