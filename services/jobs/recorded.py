"""Jobs as folders on a disk: what was asked for, how far each job is, and how it ended.

A service writes these folders, and the process of a job reads its own. They hold JSON and text only. All that several
processes must agree on is changed under one lock, so any number of services may share a folder of jobs.
"""

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, get_args

from embedder.folders import lock, remove_leftovers, try_lock, write_file, write_whole
from services.jobs.progress import JobProgress

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
STATES: tuple[State, ...] = get_args(State)
ENDED: tuple[State, ...] = ("done", "failed", "cancelled", "interrupted")

ID = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{6}")
"""An id begins with the time of its request, so that ids sort by age."""

ASKED, STATUS, PROGRESS, FAILURE = "asked.json", "status.json", "progress.json", "failure.json"
LOG, OUTPUT, CANCEL, HELD = "log.txt", "output.json", "cancel", ".held"
FILES = "files"
"""Folder in which a job writes files for its user."""

LOG_BYTES = 512 * 2**10
"""Largest log of a job. The first half goes when it is full."""

OUTPUT_BYTES = 8 * 2**20
"""Largest output that is read as the result of a job."""

MOST_KNOWN = 1000
"""Largest number of ended jobs that are kept in memory."""

PROGRESS_SECONDS = 0.2
"""Shortest time between two records of the progress of a job."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for. It never changes.

    Attributes:
        request: the body of the request.
        arguments: the command line that does it, without the name of the program.
        store, heads: the settings of the service that accepted the job.
        within: folders out of which no file may be read; empty if the command reads none that the user names.
        reads: folders and files below `within` that the user named.
    """

    kind: str
    request: Mapping[str, Any]
    arguments: Sequence[str]
    store: str
    heads: str
    within: Sequence[str] = ()
    reads: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a job.

    Attributes:
        started, ended: times in ISO 8601; None before.
        partial: True if the job is done but had to leave some items out.
        error: why it failed or was interrupted.
    """

    state: State
    started: str | None = None
    ended: str | None = None
    partial: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it is on the disk now."""

    id: str
    folder: Path
    asked: Asked
    status: Status

    @property
    def created(self) -> str:
        """Time of the request in ISO 8601."""
        return datetime.strptime(self.id.partition("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC).isoformat()

    @property
    def cancelling(self) -> bool:
        return (self.folder / CANCEL).exists()

    def ask_to_cancel(self) -> None:
        """Leave the wish to cancel a running job for the service that runs it."""
        (self.folder / CANCEL).touch()

    def progress(self) -> dict[str, Any] | None:
        """Return ``{"done", "total", "note"}``; None before the first report."""
        return _read_json(self.folder / PROGRESS)

    def failure(self) -> str | None:
        """Return the message of the error that ended the command; None if it left none."""
        found = _read_json(self.folder / FAILURE)
        return None if found is None else str(found.get("message"))

    def output(self) -> dict[str, Any] | None:
        """Return the JSON that the command printed; None if it printed none, or too much."""
        path = self.folder / OUTPUT
        with suppress(OSError):
            return _read_json(path) if path.stat().st_size <= OUTPUT_BYTES else None
        return None

    def log(self, lines: int, most: int = 16 * 2**10) -> list[str]:
        """Return the last lines of the log, of at most `most` bytes together."""
        try:
            with (self.folder / LOG).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - most))
                text = file.read().decode(errors="replace")
        except OSError:
            return []
        return text.splitlines()[-lines:] if lines else []

    def hold(self) -> IO[str] | None:
        """Return the lock that the process of the job holds while it lives; None if that process holds it."""
        return try_lock(self.folder / HELD)


class Jobs:
    """All jobs of a folder, which is made when the first job is added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ended: dict[str, Job] = {}  # they never change, and are most of all jobs

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock under which states change."""
        return lock(self.root / ".lock")

    def add(self, make: Callable[[Path], Asked]) -> Job:
        """Add a job that waits. `make` gets the folder of the job, which does not exist yet. Call it under `locked`."""
        id_ = _new_id(next(self.ids(), ""))
        asked, status = make(self.root / id_), Status("queued")
        files = {ASKED: _json(asdict(asked)), STATUS: _json(asdict(status))}
        write_whole(self.root / id_, files)
        return Job(id_, self.root / id_, asked, status)

    def ids(self) -> Iterator[str]:
        """Yield the ids of all jobs, the newest first."""
        with suppress(FileNotFoundError, NotADirectoryError):
            yield from sorted((path.name for path in self.root.iterdir() if ID.fullmatch(path.name)), reverse=True)

    def get(self, id_: str) -> Job | None:
        """Return a job; None if there is none of that id, or its record is damaged."""
        if not ID.fullmatch(id_):
            return None
        folder = self.root / id_
        if (known := self._ended.get(id_)) and (folder / ASKED).exists():
            return known
        asked, status = _read_json(folder / ASKED), _read_json(folder / STATUS)
        try:
            job = Job(id_, folder, Asked(**asked), Status(**status)) if asked and status else None
        except TypeError:
            return None
        if job and job.status.state in ENDED:
            self._ended = dict(islice(self._ended.items(), MOST_KNOWN)) | {id_: job}
        return job

    def all(self) -> Iterator[Job]:
        """Yield all jobs, the newest first."""
        yield from (job for job in map(self.get, self.ids()) if job)

    def change(self, job: Job, **changes: Any) -> Job:
        """Write another status of a job."""
        status = replace(job.status, **changes)
        write_file(job.folder / STATUS, _json(asdict(status)))
        return replace(job, status=status)

    def end(self, job: Job, state: State, *, partial: bool = False, error: str | None = None) -> Job:
        """Write that a job has ended."""
        return self.change(job, state=state, ended=now(), partial=partial, error=error)

    def sweep(self, most: int) -> None:
        """Remove all but the last `most` jobs that have ended, with their files, and damaged records."""
        remove_leftovers(self.root)
        kept = 0
        for id_ in list(self.ids()):
            job = self.get(id_)
            kept += job is not None and job.status.state in ENDED
            if job is None or (job.status.state in ENDED and kept > most):
                with suppress(OSError):
                    (self.root / id_ / ASKED).unlink(missing_ok=True)  # from now on there is no such job
                shutil.rmtree(self.root / id_, ignore_errors=True)


def now() -> str:
    return datetime.now(UTC).isoformat()


def _new_id(last: str) -> str:
    """Return an id that sorts after `last`, even if the clock was put back."""
    time_ = max(f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}", last.partition("-")[0])
    return next(id_ for id_ in (f"{time_}-{secrets.token_hex(3)}" for _ in range(10_000)) if id_ > last)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file; None if there is none, or something else."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class ProgressFile:
    """Writes the progress of a job for whoever shows it. Every reader sees a whole file."""

    def __init__(self, folder: Path) -> None:
        self._path, self._next = folder / PROGRESS, 0.0

    def __call__(self, now: JobProgress) -> None:
        ended = now.total is not None and now.handled >= now.total
        if time.monotonic() < self._next and not ended:
            return
        self._next = time.monotonic() + PROGRESS_SECONDS
        fresh = self._path.with_suffix(".new")
        with suppress(OSError):  # a full disk must not end the work that it would report
            fresh.write_bytes(_json({"done": now.handled, "total": now.total, "note": now.note}))
            fresh.replace(self._path)


def append(path: Path, text: bytes, most: int = LOG_BYTES) -> None:
    """Append to a log. When it would exceed `most` bytes, only its last half stays."""
    with path.open("ab+") as file:
        if file.tell() + len(text) > most:
            file.seek(max(0, file.tell() - most // 2))
            kept = (file.read() + text)[-most // 2 :]
            _, _, text = kept.partition(b"\n")
            text = b"(earlier lines were removed)\n" + text
            file.truncate(0)
        file.write(text)
