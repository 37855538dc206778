"""Backfills that run inside the embedding service, one at a time."""

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from services.jobs.backfill.plan import Progress
from services.web.errors import BackfillsFull, UnknownBackfill
from services.web.metrics import Metrics
from services.web.quoting import shortened
from services.web.schemas import BackfillStatus

log = logging.getLogger("headwater.backfill")

Run = Callable[[Callable[[Progress], None]], Progress]
"""A backfill that is ready to start. Its argument is the function to which it reports its progress."""


MOST_FINISHED = 50
"""Largest number of finished backfills that are kept; the oldest are forgotten first."""


@dataclass(slots=True)
class _Backfill:
    id: str
    encoder: str
    progress: Progress = field(default_factory=Progress)
    future: "Future[Progress] | None" = None
    counted: tuple[int, int] = (0, 0)
    """Assets stored and quarantined that the metrics have."""


class Backfills:
    """The backfills of one process and their progress. They are forgotten when the process ends.

    Args:
        most_queued: largest number of backfills that wait.
        metrics: shows what waits, what was handled, and what has ended.
    """

    def __init__(self, most_queued: int, metrics: Metrics) -> None:
        self._metrics = metrics
        metrics.backfills_waiting(lambda: len(self._queued()))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="backfill")
        self._accepted: dict[str, _Backfill] = {}
        self._most_queued = most_queued
        self._stopping = False

    def require_room(self) -> None:
        """Raise BackfillsFull if no backfill can be queued now."""
        waiting = len(self._queued())
        if waiting >= self._most_queued:
            raise BackfillsFull(waiting)

    def start(self, encoder: str, run: Run) -> BackfillStatus:
        """Queue `run`. It starts when the backfills before it have ended. Raises BackfillsFull."""
        self.require_room()
        accepted = _Backfill(uuid.uuid4().hex[:12], encoder)

        def report(progress: Progress) -> None:
            accepted.progress = progress
            self._count(accepted)
            if self._stopping:
                raise CancelledError("the service was stopped; vectors already written stay: start the backfill again")

        self._forget_oldest()
        self._accepted[accepted.id] = accepted
        accepted.future = self._pool.submit(run, report)
        accepted.future.add_done_callback(lambda future: self._ended(accepted.id, encoder, future))
        return self.status(accepted.id)

    def all(self) -> list[BackfillStatus]:
        """Return the progress of every backfill, the oldest first."""
        return [self.status(job_id) for job_id in self._accepted]

    def status(self, job_id: str) -> BackfillStatus:
        """Return the progress of a backfill. Raises UnknownBackfill with the ids that exist."""
        if job_id not in self._accepted:
            raise UnknownBackfill(shortened(job_id), list(self._accepted))
        backfill, queued = self._accepted[job_id], self._queued()
        state, error = _state(backfill.future)
        progress = backfill.progress
        return BackfillStatus(
            id=job_id,
            state="queued" if job_id in queued else state,
            position=queued.index(job_id) + 1 if job_id in queued else None,
            encoder=backfill.encoder,
            done=progress.done,
            total=progress.total,
            quarantined=progress.quarantined,
            seconds=round(progress.seconds, 3),
            error=error,
        )

    def encoders(self) -> set[str]:
        """Return the names of the encoders of the backfills that run or wait."""
        return {each.encoder for each in self._accepted.values() if each.future and not each.future.done()}

    def stop(self) -> None:
        """Let the running backfill write the chunk that it works on, then end it. Queued backfills never start."""
        self._stopping = True
        self._pool.shutdown(cancel_futures=True)

    def _count(self, backfill: _Backfill) -> None:
        """Add to the metrics what was handled since the last call. `progress` is one object, whose numbers grow."""
        stored, quarantined = now = backfill.progress.done, backfill.progress.quarantined
        self._metrics.backfill_rows(backfill.encoder, stored - backfill.counted[0], quarantined - backfill.counted[1])
        backfill.counted = now

    def _ended(self, job_id: str, encoder: str, future: "Future[Progress]") -> None:
        state, error = _state(future)
        self._metrics.backfill_ended(state)
        level = logging.INFO if error is None else logging.ERROR
        log.log(level, f"backfill {state}", extra={"backfill": job_id, "encoder": encoder, "error": error})

    def _queued(self) -> list[str]:
        """Return the ids of the backfills that wait, in the order in which they start."""
        unfinished = [each.id for each in self._accepted.values() if each.future and not each.future.done()]
        return unfinished[1:]  # the first one runs, or starts in a moment

    def _forget_oldest(self) -> None:
        finished = [each.id for each in self._accepted.values() if each.future and each.future.done()]
        for job_id in finished[: max(0, len(finished) - MOST_FINISHED + 1)]:
            del self._accepted[job_id]


def _state(
    future: "Future[Progress] | None",
) -> tuple[Literal["running", "done", "failed"], str | None]:
    if future is None or not future.done():
        return "running", None
    if future.cancelled():
        return "failed", "cancelled"
    error = future.exception()
    return ("done", None) if error is None else ("failed", f"{type(error).__name__}: {error}")
