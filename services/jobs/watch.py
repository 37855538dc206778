"""Watches a folder: stores and embeds what appears in it.

The folder is listed again and again. Notifications of the operating system would need a library for each system, are
lost on network disks and when their queue is full, and do not say when a file is complete;
"""

import glob
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.jobs.fill import Filled, Request, fill
from services.jobs.ingest import Ingested
from store import Item, Store
from store.errors import BadLabels, BadSource, BadSplit
from store.sources import Sources, contents, listed

IDLE = 4
"""The pause after a listing is at least this many times as long as it: a large folder does not cost a whole core."""

UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp")
"""Endings of files that a program is still writing, and will rename."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one listing led to.

    Attributes:
        embedded: number of assets that got a vector.
        refused: path of each file whose label or split may not be stored, with the reason.
    """

    ingested: Ingested
    embedded: int = 0
    refused: dict[str, str] = field(default_factory=dict)


class Folder:
    """A folder, and which of its files are new and complete. Memory holds a few bytes for each file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self._before: set[int] = set()
        self._taken: set[int] = set()

    def complete(self) -> list[Item]:
        """List the folder, and return the files that are as they were at the last call and were not returned as such.

        A file that changed later is returned again. Raises BadSource if the folder is gone.
        """
        now: set[int] = set()
        found = []
        for item in listed(self.path):
            state = _state(item)
            if state is None:
                continue
            now.add(state)
            if state in self._before and state not in self._taken:
                found.append((state, item))
        self._before = now
        written = being_written() if found else set()
        chosen = [(state, item) for state, item in found if _file(item.uri) not in written]
        self._taken = self._taken & now | {state for state, _ in chosen}
        return [item for _, item in chosen]


def being_written() -> set[tuple[int, int]]:
    """Return (device, inode) of each file that a process has open for writing, as far as this process may know.

    Empty on other systems than Linux. Writers on other machines and of other users are not seen.
    """
    found = set()
    for descriptor in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            if os.lstat(descriptor).st_mode & stat.S_IWUSR:  # the link's mode is that of the open file
                seen = os.stat(descriptor)
                found.add((seen.st_dev, seen.st_ino))
        except OSError:  # the process has ended, or closed the file
            continue
    return found


def _file(path: str) -> tuple[int, int] | None:
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def _state(item: Item) -> int | None:
    """Return a number that changes with the path, label, size or time of a file; None for a file to leave alone."""
    if item.uri.lower().endswith(UNFINISHED):
        return None
    try:
        seen = os.stat(item.uri)
    except OSError as error:  # it is gone again, or may not be read
        return hash((item.uri, error.errno)) if os.path.lexists(item.uri) else None
    return hash((item.uri, *(item.labels or ()), item.split, seen.st_size, seen.st_mtime_ns, seen.st_ino))


class _Chosen(Sources):
    """Some of the files of a folder, as a source."""

    def __init__(self, folder: Path, items: Iterable[Item]) -> None:
        super().__init__([folder])
        self._items = list(items)

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            yield from contents(item)


def watch(store: Store, request: Request, embed: Callable[[], int], *, every: float) -> Iterator[Round]:
    """Store and embed what appears in the folder `request.sources[0]`, without end. Yields each round that did any.

    What is there at the start counts as new. A process that is stopped or killed loses nothing: the next one starts
    with all files again, and the store knows those that it has.

    Args:
        embed: embeds what has no vector yet, and returns the number of new vectors.
        every: seconds between two listings.
    """
    folder = Folder(request.sources[0])
    while True:
        begun = time.monotonic()
        items = folder.complete()
        took = time.monotonic() - begun
        if items:
            ingested, refused = _store(store, request, folder.path, items)
            yield Round(ingested, embed() if ingested.new or ingested.known else 0, refused)
        time.sleep(max(every, took * IDLE))


def _store(store: Store, request: Request, folder: Path, items: list[Item]) -> tuple[Ingested, dict[str, str]]:
    """Store all items; if their labels are refused, one by one, so that the others are stored."""

    def run(some: list[Item]) -> Filled:
        return fill(store, replace(request, sources=(), on_conflict="last"), sources=_Chosen(folder, some))

    try:
        return run(items).ingested, {}
    except (BadLabels, BadSplit, BadSource) as error:
        if len(items) == 1:
            return Ingested(), {items[0].uri: str(error)}
    total = Ingested()
    refused: dict[str, str] = {}
    for item in items:
        done, more = _store(store, request, folder, [item])
        refused |= more
        total.new += done.new
        total.known += done.known
        total.labelled += done.labelled
        total.failures.add(done.failures.examples.values())
    return total, refused
