"""Backfills that run inside the embedding service, one at a time."""

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from services.jobs.backfill.plan import Progress
from services.web.errors import UnknownBackfill
from services.web.schemas import BackfillStatus

log = logging.getLogger("headwater.backfill")

Run = Callable[[Callable[[Progress], None]], Progress]
"""A backfill that is ready to start. Its argument is the function to which it reports its progress."""


@dataclass(slots=True)
class _Backfill:
    encoder: str
    progress: Progress = field(default_factory=Progress)
    future: "Future[Progress] | None" = None


class Backfills:
    """The backfills of one process and their progress. They are forgotten when the process ends."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="backfill")
        self._started: dict[str, _Backfill] = {}
        self._stopping = False

    def start(self, encoder: str, run: Run) -> BackfillStatus:
        """Queue `run`. It starts when the backfills before it have ended."""
        job_id, started = uuid.uuid4().hex[:12], _Backfill(encoder)

        def report(progress: Progress) -> None:
            started.progress = progress
            if self._stopping:
                raise CancelledError("the service was stopped; vectors already written stay: start the backfill again")

        self._started[job_id] = started
        started.future = self._pool.submit(run, report)
        started.future.add_done_callback(lambda future: _log(job_id, encoder, future))
        return self.status(job_id)

    def status(self, job_id: str) -> BackfillStatus:
        """Return the progress of a backfill. Raises UnknownBackfill with the ids that exist."""
        if job_id not in self._started:
            raise UnknownBackfill(job_id, list(self._started))
        backfill = self._started[job_id]
        state, error = _state(backfill.future)
        progress = backfill.progress
        return BackfillStatus(
            id=job_id,
            state=state,
            encoder=backfill.encoder,
            done=progress.done,
            total=progress.total,
            quarantined=progress.quarantined,
            seconds=round(progress.seconds, 3),
            error=error,
        )

    def stop(self) -> None:
        """Let the running backfill write the chunk that it works on, then end it. Queued backfills never start."""
        self._stopping = True
        self._pool.shutdown(cancel_futures=True)


def _log(job_id: str, encoder: str, future: "Future[Progress]") -> None:
    state, error = _state(future)
    level = logging.INFO if error is None else logging.ERROR
    log.log(level, f"backfill {state}", extra={"backfill": job_id, "encoder": encoder, "error": error})


def _state(
    future: "Future[Progress] | None",
) -> tuple[Literal["running", "done", "failed"], str | None]:
    if future is None or not future.done():
        return "running", None
    if future.cancelled():
        return "failed", "cancelled"
    error = future.exception()
    return ("done", None) if error is None else ("failed", f"{type(error).__name__}: {error}")
