"""Backfills that run inside the embedding service, one at a time."""

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from services.jobs.backfill.local import Progress
from services.web.errors import UnknownBackfill
from services.web.schemas import BackfillStatus

log = logging.getLogger("headwater.backfill")

Run = Callable[[Callable[[Progress], None]], Progress]
"""A backfill that is ready to start; it is given the function to report progress to."""


@dataclass(slots=True)
class _Job:
    encoder: str
    progress: Progress = field(default_factory=Progress)
    future: "Future[Progress] | None" = None


class BackfillJobs:
    """Started jobs and their progress, kept as long as the process lives."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="backfill")
        self._jobs: dict[str, _Job] = {}
        self._stopping = False

    def start(self, encoder: str, run: Run) -> BackfillStatus:
        job_id, job = uuid.uuid4().hex[:12], _Job(encoder)

        def report(progress: Progress) -> None:
            job.progress = progress
            if self._stopping:
                raise CancelledError("the service stops; what is written stays, start the backfill again")

        self._jobs[job_id] = job
        job.future = self._pool.submit(run, report)
        return self.status(job_id)

    def status(self, job_id: str) -> BackfillStatus:
        """Raises UnknownBackfill with the ids that exist."""
        if job_id not in self._jobs:
            raise UnknownBackfill(job_id, list(self._jobs))
        job = self._jobs[job_id]
        state, error = _state(job.future)
        progress = job.progress
        return BackfillStatus(
            id=job_id,
            state=state,
            encoder=job.encoder,
            done=progress.done,
            total=progress.total,
            quarantined=progress.quarantined,
            seconds=round(progress.seconds, 3),
            error=error,
        )

    def stop(self) -> None:
        """The chunk under way is written, the rest is left for another run."""
        self._stopping = True
        self._pool.shutdown(cancel_futures=True)


def _state(
    future: "Future[Progress] | None",
) -> tuple[Literal["running", "done", "failed"], str | None]:
    if future is None or not future.done():
        return "running", None
    if future.cancelled() or (error := future.exception()) is None:
        return ("failed", "cancelled") if future.cancelled() else ("done", None)
    return "failed", f"{type(error).__name__}: {error}"
