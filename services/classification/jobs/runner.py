"""Runs the jobs of a folder, one after the other or a few at once. Of all services that share it, one runs them."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import IO

from embedder.folders import try_lock
from services.classification.jobs.process import JobProcess, processors
from services.jobs.recorded import ENDED, Job, Jobs, State, now
from services.settings import Settings

log = logging.getLogger("headwater.jobs")

BUSY, IDLE = 0.2, 1.0
"""Seconds between two looks at the folder, while jobs run and while none does."""

PARTIAL = 3
"""Exit code of a command that did its work but had to leave some items out."""

STOPPED = 130
"""Exit code of a command that Ctrl-C stopped."""

SHARE = 0.5
"""Part of the grace period of the service in which its jobs stop."""

DIED = "the service ended while the job ran; start the job again: what it has finished is kept"


class Runner:
    """A thread that starts waiting jobs, notices their ends, and stops them with the service.

    Args:
        stopping: returns True once the service is being stopped.
        ended: called with the last state of each job.
    """

    def __init__(
        self, jobs: Jobs, settings: Settings, stopping: Callable[[], bool], ended: Callable[[State], None]
    ) -> None:
        self._jobs, self._settings, self._ended_with = jobs, settings, ended
        self._service_stops = stopping
        self._running: dict[str, JobProcess] = {}
        self._lock: IO[str] | None = None
        self._fault = ""
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True, name="jobs")
        self._thread.start()

    def wake(self) -> None:
        """Look at the folder now."""
        self._wake.set()

    def stop(self) -> None:
        """Stop the running jobs, which are then interrupted. Jobs that wait stay as they are."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not (self._stop.is_set() or self._service_stops()):
            try:
                self._look()
                self._fault = ""
            except Exception as error:  # a full disk, say: the next look may succeed, and the service goes on
                self._report(error)
            self._wake.wait(BUSY if self._running else IDLE)
            self._wake.clear()
        self._stop_all()

    def _report(self, error: Exception) -> None:
        """Log a fault once, however often it comes back."""
        if self._fault != (fault := f"{type(error).__name__}: {error}"):
            log.error("the jobs could not be looked after", exc_info=error)
        self._fault = fault

    def _look(self) -> None:
        """Do everything that is due."""
        self._end_finished()
        if not self._is_the_runner():
            return
        unfinished = [job for job in self._jobs.all() if job.status.state not in ENDED]
        for job in unfinished:
            if job.id in self._running and job.cancelling:
                self._running[job.id].ask_to_stop()
        left_alive = sum(self._is_left_alive(job) for job in unfinished)
        waiting = [job for job in reversed(unfinished) if job.status.state == "queued"]
        for job in waiting[: max(0, self._settings.max_jobs - len(self._running) - left_alive)]:
            self._begin(job)

    def _is_the_runner(self) -> bool:
        if self._lock is None and self._jobs.root.is_dir():
            self._lock = try_lock(self._jobs.root / ".runner")
        return self._lock is not None

    def _is_left_alive(self, job: Job) -> bool:
        """Return True if the process of a service that died still works on the job. If it is gone, end the job."""
        if job.status.state != "running" or job.id in self._running:
            return False
        held = job.hold()
        if held is None:
            return True
        with held:
            self._end(job, "interrupted", error=DIED)
        return False

    def _begin(self, job: Job) -> None:
        taken = {process.cpus[-1] for process in self._running.values()}
        slots = (processors(self._settings, slot) for slot in range(self._settings.max_jobs))
        cpus = next((each for each in slots if each[-1] not in taken), processors(self._settings, 0))
        with self._jobs.locked():
            fresh = self._jobs.get(job.id)
            if fresh is None or fresh.status.state != "queued":  # cancelled in the meantime
                return
            job = self._jobs.change(fresh, state="running", started=now())
        try:
            self._running[job.id] = JobProcess(job, self._settings, cpus)
        except OSError as error:
            self._end(job, "failed", error=f"its process could not be started: {error.strerror or error}")

    def _end_finished(self) -> None:
        for id_, process in list(self._running.items()):
            if (code := process.code()) is not None:
                job = self._jobs.get(id_) or process.job
                state, error = _outcome(code, job, asked=process.asked_to_stop)
                self._end(job, state, partial=code == PARTIAL, error=error)
                del self._running[id_]  # last: a status that could not be written is written at the next look

    def _end(self, job: Job, state: State, *, partial: bool = False, error: str | None = None) -> None:
        with self._jobs.locked():
            if job.folder.is_dir():
                self._jobs.end(job, state, partial=partial, error=error)
            self._jobs.sweep(self._settings.max_finished_jobs)
        self._ended_with(state)
        level = logging.ERROR if state == "failed" else logging.INFO
        log.log(level, f"job {state}", extra={"job": job.id, "kind": job.asked.kind, "error": error})

    def _stop_all(self) -> None:
        for process in self._running.values():
            process.ask_to_stop()
        deadline = time.monotonic() + self._settings.grace * SHARE
        for process in self._running.values():
            process.wait(max(0.0, deadline - time.monotonic()))
        try:
            self._end_finished()
        except Exception:  # the next service finds these jobs without a process
            log.exception("the ends of the jobs could not be written")
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _outcome(code: int, job: Job, *, asked: bool) -> tuple[State, str | None]:
    """Return the last state of a job whose process has ended, and why."""
    if code in (0, PARTIAL):
        return "done", None
    if asked or code == STOPPED:
        return ("cancelled", None) if job.cancelling else ("interrupted", DIED)
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return "failed", f"its process was ended by {name}; if that was SIGKILL, the machine may be short of memory"
    return "failed", job.failure() or f"its command ended with exit code {code}; its log says more"
