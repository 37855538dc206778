"""The jobs of a classification service: what its endpoints ask for."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifiers.published.head import PublishedHead
from embedder.errors import UnknownEncoder
from services.classification.jobs.commands import COMMANDS, file_of
from services.classification.jobs.places import allowed, roots
from services.classification.jobs.runner import Runner
from services.jobs.recorded import ENDED, FILES, Asked, Job, Jobs
from services.settings import Settings
from services.web.errors import (
    JobEnded,
    JobsFull,
    JobsUnavailable,
    NoResult,
    NotOffered,
    UnknownJob,
)
from services.web.metrics import Metrics
from services.web.quoting import shortened
from services.web.schemas.jobs import AnyJob, JobDetails, JobsResponse, JobStatus
from store import Store
from store.errors import StoreError, UnknownTask

LOG_LINES = 50
"""Largest number of lines of the log in an answer."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the service knows, so that a request which cannot succeed is refused at once.

    Attributes:
        store: function that returns the store. Raises StoreError.
        head: function from the reference of a head to the head. Raises UnknownHead, UnknownAlias, UnknownVersion and
            BadArtifact.
    """

    store: Callable[[], Store]
    head: Callable[[str], PublishedHead]


class ServiceJobs:
    """The jobs of a service: accepts, shows and cancels them. They run in the `Runner` of one of the services.

    Args:
        stopping: returns True once the service is being stopped.

    Attributes:
        followers: number of requests that follow jobs.
    """

    def __init__(self, settings: Settings, known: Known, metrics: Metrics, stopping: Callable[[], bool]) -> None:
        self._settings, self._known, self._metrics, self.stopping = settings, known, metrics, stopping
        self.followers = 0
        self._jobs = Jobs(settings.jobs.expanduser().absolute())
        self._runner = Runner(self._jobs, settings, stopping, metrics.job_ended)
        metrics.jobs("queued", lambda: self._count("queued"))
        metrics.jobs("running", lambda: self._count("running"))

    def start(self) -> None:
        """Start to run jobs: those that wait from before, too."""
        self._runner.start()

    def stop(self) -> None:
        """Stop the running jobs, which are then interrupted. Jobs that wait stay as they are."""
        self._runner.stop()

    def usable(self) -> bool:
        """Return True if the folder of the jobs can be written, or made."""
        root = self._jobs.root
        place = next(each for each in (root, *root.parents) if each.exists())
        return place.is_dir() and os.access(place, os.W_OK | os.X_OK)

    def accept(self, body: AnyJob) -> JobDetails:
        """Queue a job.

        Raises:
            StoreError, UnknownTask, UnknownEncoder, FolderNotAllowed, NotOffered, and what `Known.head` and
            `PublishedHead.require_answerable` raise: the job could not succeed.
            JobsFull, JobsUnavailable: it cannot be queued.
        """
        self._require_possible(body)
        command = COMMANDS[body.kind]
        reads = [str(path) for path in self._places(body, command.places)]
        within = [str(root) for root in roots(self._settings.job_folders)] if reads else []

        def asked(folder: Path) -> Asked:
            line, settings = command.line(body, folder / FILES, reads), self._settings
            request = body.model_dump(mode="json")
            return Asked(body.kind, request, line, settings.store, str(settings.heads.absolute()), within, reads)

        with self._usable(), self._jobs.locked():
            waiting = self._count("queued")
            if waiting >= self._settings.max_job_queue:
                raise JobsFull(waiting)
            job = self._jobs.add(asked)
        self._runner.wake()
        return self.details(job.id)

    def page(self, start: int, limit: int) -> JobsResponse:
        """Return some of the jobs, the newest first, and the number of all."""
        with self._usable():
            ids, queue = list(self._jobs.ids()), self._queue()
            found = [self._jobs.get(id_) for id_ in ids[start : start + limit]]
            return JobsResponse(count=len(ids), jobs=[JobStatus(**_shown(job, queue.index)) for job in found if job])

    def details(self, job_id: str) -> JobDetails:
        """Return one job with its request, its log and its result. Raises UnknownJob."""
        job = self._get(job_id)
        return JobDetails(
            **_shown(job, self._place),
            request=job.asked.request,
            log=job.log(LOG_LINES),
            result=_result(job),
            file=found.name if (found := _file(job)) else None,
        )

    def status(self, job_id: str) -> JobStatus:
        """Return the state of one job. Raises UnknownJob."""
        return JobStatus(**_shown(self._get(job_id), self._place))

    def cancel(self, job_id: str) -> JobDetails:
        """Cancel a job that waits, or ask one that runs to stop. Raises UnknownJob, JobEnded."""
        with self._usable(), self._jobs.locked():
            job = self._get(job_id)
            if job.status.state in ENDED:
                raise JobEnded(job.id, job.status.state)
            if job.status.state == "queued":
                self._jobs.end(job, "cancelled")
                self._metrics.job_ended("cancelled")
            else:
                job.ask_to_cancel()
        self._runner.wake()
        return self.details(job_id)

    def file(self, job_id: str) -> Path:
        """Return the file that a job has made. Raises UnknownJob, NoResult."""
        job = self._get(job_id)
        if not COMMANDS[job.asked.kind].file:
            raise NoResult(f"a job of kind {job.asked.kind} makes no file; GET /v1/jobs/{job.id} has its result")
        if job.status.state not in ENDED:
            raise NoResult(f"job {job.id} is {job.status.state}; its file is there once it is done")
        if (found := _file(job)) is None:
            raise NoResult(f"job {job.id} is {job.status.state} and has made no file; its log says why")
        return found

    def _require_possible(self, body: AnyJob) -> None:
        if not self._settings.store:
            raise StoreError("this service has no store; its operator can set HEADWATER_STORE")
        given = body.model_dump(exclude_none=True)
        for name in {"labels_file", "group"} & given.keys() if "task" not in given else ():
            raise NotOffered(f"{name} needs task, to which the labels belong; name the task")
        if body.kind == "suggest" and not {"head", "task"} & given.keys():
            raise NotOffered("suggest needs head, or task and encoder for a task without a head; name one of them")
        head = self._known.head(given["head"]) if "head" in given else None
        if head and body.kind == "predict":
            head.require_answerable(coverage=body.coverage, sets=body.sets, max_outlier=None)
            if body.folder is not None and body.task is not None:
                raise NotOffered("task chooses stored assets; leave it out, or leave folder out")
        for name in COMMANDS[body.kind].tasks:
            if name in given:
                self._require_task(given[name])
        for name in given.get("encoders", [given["encoder"]] if "encoder" in given and "head" not in given else []):
            self._require_encoder(name)

    def _require_task(self, task: str) -> None:
        tasks = self._known.store().labels.tasks()
        if task not in tasks:
            raise UnknownTask(shortened(task), list(tasks))

    def _require_encoder(self, name: str) -> None:
        """Raise UnknownEncoder unless the settings or the store have it: a name may be the path of any file."""
        stored = self._known.store().encoders()
        known = dict.fromkeys([*self._settings.encoders, *(each.name for each in stored)])
        if name not in known and name not in {each.fingerprint for each in stored}:
            raise UnknownEncoder(shortened(name), list(known))

    def _places(self, body: AnyJob, names: Sequence[str]) -> Iterator[Path]:
        for name in names:
            if (given := getattr(body, name)) is not None:
                yield allowed(given, self._settings.job_folders, folder=name == "folder")

    def _get(self, job_id: str) -> Job:
        if (job := self._jobs.get(job_id)) is None:
            raise UnknownJob(shortened(job_id))
        return job

    def _queue(self) -> list[str]:
        """Return the ids of the jobs that wait, in the order in which they start."""
        return [job.id for job in self._jobs.all() if job.status.state == "queued"][::-1]

    def _place(self, job_id: str) -> int:
        """Return the number of jobs that start before a job which waits. Raises ValueError if it no longer waits."""
        return self._queue().index(job_id)

    def _count(self, state: str) -> int:
        return sum(job.status.state == state for job in self._jobs.all())

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Raise JobsUnavailable if the folder of the jobs cannot be read or written."""
        try:
            yield
        except OSError as error:
            raise JobsUnavailable(str(self._jobs.root), error.strerror or str(error)) from error


def _shown(job: Job, place: Callable[[str], int]) -> Mapping[str, Any]:
    """Return the fields of a `JobStatus`.

    Args:
        place: function from the id of a job that waits to the number of those before it. Raises ValueError if it no
            longer waits.
    """
    status, position = job.status, None
    if status.state == "queued":
        with suppress(ValueError):
            position = place(job.id) + 1
    return {
        "id": job.id,
        "kind": job.asked.kind,
        "state": status.state,
        "position": position,
        "cancelling": status.state not in ENDED and job.cancelling,
        "created": job.created,
        "started": status.started,
        "ended": status.ended,
        "progress": job.progress(),
        "partial": status.partial,
        "error": status.error,
    }


def _result(job: Job) -> dict[str, Any] | None:
    output = job.output() if job.status.state == "done" else None
    return None if output is None else COMMANDS[job.asked.kind].result(output)


def _file(job: Job) -> Path | None:
    return file_of(job.asked.kind, job.folder) if job.status.state in ENDED else None
