"""The exceptions of the services, and the one table that maps every exception to its HTTP status and code.

The exceptions that a client can meet, with their statuses; `ERRORS` adds the codes. 422: the request is wrong whatever
this service has, and its OpenAPI document says so. 409: the request does not fit the encoders, the heads or the store.
A class that is not in the table is answered as its nearest base class that is; without one, the answer is 500
`internal` and the log has the details.

    embedder.errors
    ├── BadMedia 422  (BadImage, BadSound, BadArray, BadVideo; the code is the reason that the exception carries)
    ├── UnknownEncoder 404
    ├── ProbeMismatch 409
    └── DeviceFull, QueueFull, BatcherStopped 503
    store.errors
    └── StoreError 503
        ├── DiskFull 507
        ├── UnknownId, UnknownTask, UnknownFeatures 404
        ├── FeaturesMismatch, AmbiguousFeatures, NothingToUndo, FrozenSplit 409
        └── BadSplit, BadLabels, BadVectors 422
    classifiers.errors
    ├── UnknownHead, UnknownAlias, UnknownVersion, NoReport 404
    ├── WrongFingerprint, BadVectors, UnknownCoverage, UnknownSets, NoOutlierScore, NoTexts, NotTrainable 409
    ├── BadName 422
    └── BadArtifact 503
    services.web.errors
    ├── UnknownBackfill, UnknownJob 404
    ├── BackfillsFull, JobsFull, LearningBusy 429
    ├── FolderNotAllowed, EncoderNotAllowed 403
    ├── JobEnded, NoResult, NotShown, EncodersFull, EncoderBusy 409
    ├── JobsUnavailable, LearningUnavailable, LearningFailed, TooManyFollowers, AxesNotReady, NotReady 503
    ├── BadRequest 422
    ├── EncoderNotLoaded, NotOffered, TwoValues, HeadNeeded 409
    ├── ServiceDown 502
    ├── RemoteProblem  (the status and the code that the other service answered)
    └── Refused  (HTTPExceptions of the web framework, which carry their status)
        ├── TooSlow 408
        ├── TooLarge 413
        └── TooBusy, Overloaded, Stopping 503
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from starlette.exceptions import HTTPException

import classifiers.errors as heads
import embedder.errors as encoders
import store.errors as stored
from services.web.quoting import shortened


class NotStarted(RuntimeError):
    """A service ended while it started, was not ready in time, or found its port taken."""


class PortTaken(NotStarted):
    """A service cannot listen on its port."""


class ServiceDown(RuntimeError):
    """The other service is needed for the answer and does not answer."""

    def __init__(self, service: str, url: str, why: str) -> None:
        super().__init__(f"the {service} service at {url} does not answer ({why})")
        self.service = service


class RemoteProblem(RuntimeError):
    """The other service answered with an error. Its `status` (HTTP), `code` and message are passed on.

    Attributes:
        retry_after: seconds after which it can be asked again, as far as it said so; otherwise 1.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


class EncoderNotLoaded(LookupError):
    """The embedding service does not have the encoder of the stored vectors, though maybe another of its name."""

    def __init__(self, encoder: str, fingerprint: str) -> None:
        super().__init__(
            f"the stored vectors of encoder {encoder} have the fingerprint {fingerprint}, and the embedding service "
            "has no encoder with this fingerprint, so that nothing can be compared with them; load that encoder there "
            "(HEADWATER_ENCODERS), or run a backfill with an encoder that it has"
        )


class BadRequest(ValueError):
    """The request cannot be understood. The message says which part, and what is allowed."""


class TwoValues(ValueError):
    """A request has a parameter in two places, with different values."""

    def __init__(self, name: str, query: Sequence[str], other: Sequence[str], where: str) -> None:
        said = [shortened(", ".join(values)) for values in (query, other)]
        super().__init__(f"{name} is {said[0]!r} in the query and {said[1]!r} in the {where}; give it once")


class NotOffered(ValueError):
    """The encoder or the head of the request cannot do what is asked of it. The message says what it can do."""


class LearningTooSlow(NotOffered):
    """A training took longer than a request may take, and was ended."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the training took longer than {seconds:g} s and was ended; start a job of kind train (POST /v1/jobs), or "
            "choose kind gaussian; the operator can raise HEADWATER_LEARN_SECONDS"
        )


class HeadNeeded(LookupError):
    """The request names no head, and there is not exactly one."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"name a head with ?head=NAME; heads: {', '.join(names) or 'none yet'}")


class UnknownBackfill(LookupError):
    """No backfill of this process has this id."""

    def __init__(self, job_id: str, known: list[str]) -> None:
        super().__init__(
            f"no backfill {job_id!r} in this process; known: {', '.join(known) or 'none'}. "
            "The list starts anew when the service does"
        )


class BackfillsFull(RuntimeError):
    """Too many backfills wait."""

    retry_after = 60.0

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"{waiting} backfills wait, and no more are queued; GET /v1/backfills lists them. One backfill embeds "
            "every asset that has no vector, so a second one of the same encoder finds nothing to do"
        )


class UnknownJob(LookupError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"no job {job_id!r}; GET /v1/jobs lists the jobs. The oldest that ended are removed beyond "
            "HEADWATER_MAX_FINISHED_JOBS"
        )


class JobsFull(RuntimeError):
    """Too many jobs wait."""

    retry_after = 60.0

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"{waiting} jobs wait, and no more are queued; cancel one (GET /v1/jobs lists them) or try again later; "
            "the operator can raise HEADWATER_MAX_JOB_QUEUE or HEADWATER_MAX_JOBS"
        )


class FolderNotAllowed(LookupError):
    """A job would read a folder or a file that the settings do not allow, or that is not there."""

    def __init__(self, given: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"there is no {shortened(given)!r} below the folders that jobs may read: {', '.join(allowed)}. A link that "
            "leads out of them does not count; the operator can add folders to HEADWATER_JOB_FOLDERS"
            if allowed
            else "jobs of this service may read no folder; the operator can name folders in HEADWATER_JOB_FOLDERS"
        )


class JobEnded(ValueError):
    """A job that has ended cannot be cancelled."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} has ended already: it is {state}; there is nothing to cancel")


class NoResult(LookupError):
    """A job has no file, or none yet. The message says why."""


class NotShown(LookupError):
    """A stored asset has no picture, or no sound. The message names no path: it may be part of a packed answer."""

    @classmethod
    def missing(cls, id_: str) -> Self:
        return cls(
            f"the file of asset {id_} is not there any more, cannot be read, or has changed since it was stored; "
            "restore the file, or ingest it again"
        )


class JobsUnavailable(RuntimeError):
    """The folder of the jobs cannot be read or written."""

    def __init__(self, folder: str, why: str) -> None:
        super().__init__(
            f"the folder of jobs {folder} cannot be used: {why}; the operator can mend that or set HEADWATER_JOBS to "
            "another folder"
        )


class LearningUnavailable(RuntimeError):
    """This service cannot train heads. The message says what is missing."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this service trains no heads: {why}")


class LearningBusy(RuntimeError):
    """Another head is being trained, and the request has waited as long as it may."""

    retry_after = 5.0

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"another head is being trained, and this request has waited {seconds:g} s for it; try again later, or "
            "start a job of kind train (POST /v1/jobs)"
        )


class LearningFailed(RuntimeError):
    """The process that trains heads ended before it answered, or could not be started."""

    def __init__(self, how: str) -> None:
        super().__init__(
            f"the process that trains heads {how}; send the request again. If it was signal 9, the machine may be "
            "short of memory; the service's log may say more"
        )


class TooManyFollowers(RuntimeError):
    """Too many requests wait for the events of jobs."""

    retry_after = 5.0

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} requests follow jobs already; close some of them, or ask GET /v1/jobs/{{job_id}} now and then"
        )


class NotReady(RuntimeError):
    """An encoder of this service is still loading, or could not be loaded."""

    retry_after = 2.0

    def __init__(self, encoder: str, failure: str | None) -> None:
        super().__init__(
            f"the encoder {shortened(encoder)!r} could not be loaded: {failure}"
            if failure
            else f"the encoder {shortened(encoder)!r} is still loading; ask again in some seconds"
        )


class EncoderNotAllowed(LookupError):
    """An encoder may not be loaded over HTTP."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the encoder {shortened(name)!r} may not be loaded over HTTP: names with the path of a file, or outside "
            "the operator's list, are refused; the operator can add it to HEADWATER_ALLOWED_ENCODERS"
        )


class EncodersFull(RuntimeError):
    """A service has as many encoders as it may have, those that failed or are unloaded included."""

    def __init__(self, most: int, loaded: Sequence[str]) -> None:
        super().__init__(
            f"this service keeps at most {most} encoders, and has {', '.join(loaded)}; remove one "
            "(DELETE /v1/encoders/NAME); the operator can raise HEADWATER_MAX_ENCODERS"
        )


class EncoderBusy(RuntimeError):
    """An encoder cannot be unloaded now."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the encoder {shortened(name)!r} cannot be unloaded now: {why}; ask again later")


class AxesNotReady(RuntimeError):
    """Axes that take long are still being computed."""

    retry_after = 10.0

    def __init__(self, kind: str, seconds: float) -> None:
        super().__init__(
            f"axes={kind} take longer than {seconds:g} s for these vectors; they are being computed: ask again for the "
            "same, or use axes=pca meanwhile"
        )


class Refused(HTTPException):
    """A request was refused before its endpoint answered. The class attributes are the status and the code.

    An HTTPException, because FastAPI and Starlette turn every other exception into another error while they read a
    body.
    """

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status_code=self.status, detail=message, headers=headers)


class TooLarge(Refused):
    """A request passed a limit on its size while it was still being read."""

    status, code = 413, "too_large"


class TooSlow(Refused):
    """The body of a request did not arrive in time."""

    status, code = 408, "too_slow"

    def __init__(self, size: int, seconds: float) -> None:
        super().__init__(
            f"{size} bytes of the body arrived in {seconds:.0f} s, and no end of it; send it again, over a slow line "
            "in smaller requests; the operator can raise HEADWATER_MAX_RECEIVE_SECONDS",
            {"Connection": "close"},
        )


class TooBusy(Refused):
    """The requests under way need all the memory that the service may use for requests."""

    status, code = 503, "too_busy"

    def __init__(self, used: int, more: int, room: int, retry_after: int) -> None:
        super().__init__(
            f"the requests under way need {used} bytes of memory, {more} more do not fit in {room}; try again in "
            f"{retry_after} s or send smaller requests; the operator can raise HEADWATER_MAX_BYTES_UNDER_WAY",
            {"Retry-After": str(retry_after)},
        )


class Overloaded(Refused):
    """More requests are under way than can be answered in a short time."""

    status, code = 503, "too_busy"

    def __init__(self, under_way: int, max_wait: float, retry_after: int) -> None:
        super().__init__(
            f"{under_way} requests are under way, and one more would wait longer than {max_wait:g} s; try again in "
            f"{retry_after} s; the operator can raise HEADWATER_MAX_WAIT_SECONDS",
            {"Retry-After": str(retry_after)},
        )


class Stopping(Refused):
    """The service is being stopped."""

    status, code = 503, "stopping"

    def __init__(self) -> None:
        super().__init__("the service is being stopped; send the request again in a while", {"Retry-After": "5"})


ERRORS: dict[type[Exception], tuple[int, str]] = {
    encoders.BadMedia: (422, "bad_media"),
    encoders.UnknownEncoder: (404, "unknown_encoder"),
    encoders.ProbeMismatch: (409, "probe_mismatch"),
    encoders.DeviceFull: (503, "device_full"),
    encoders.QueueFull: (503, "queue_full"),
    encoders.BatcherStopped: (503, "stopping"),
    stored.UnknownId: (404, "unknown_id"),
    stored.UnknownTask: (404, "unknown_task"),
    stored.NothingToUndo: (409, "nothing_to_undo"),
    stored.UnknownFeatures: (404, "unknown_encoder"),
    stored.AmbiguousFeatures: (409, "ambiguous_encoder"),
    stored.FeaturesMismatch: (409, "wrong_fingerprint"),
    stored.FrozenSplit: (409, "frozen_split"),
    stored.BadSplit: (422, "bad_split"),
    stored.BadLabels: (422, "bad_labels"),
    stored.BadVectors: (422, "bad_vectors"),
    stored.DiskFull: (507, "disk_full"),
    stored.StoreError: (503, "store_unavailable"),
    heads.UnknownHead: (404, "unknown_head"),
    heads.UnknownAlias: (404, "unknown_alias"),
    heads.UnknownVersion: (404, "unknown_version"),
    heads.NoReport: (404, "no_report"),
    heads.BadArtifact: (503, "bad_head"),
    heads.NotTrainable: (409, "not_trainable"),
    heads.WrongFingerprint: (409, "wrong_fingerprint"),
    heads.BadName: (422, "bad_name"),
    heads.BadVectors: (409, "bad_vectors"),
    heads.UnknownCoverage: (409, "unknown_coverage"),
    heads.UnknownSets: (409, "unknown_sets"),
    heads.NoOutlierScore: (409, "no_outlier_score"),
    heads.NoTexts: (409, "no_texts"),
    UnknownBackfill: (404, "unknown_backfill"),
    BackfillsFull: (429, "queue_full"),
    UnknownJob: (404, "unknown_job"),
    JobsFull: (429, "queue_full"),
    FolderNotAllowed: (403, "folder_not_allowed"),
    JobEnded: (409, "job_ended"),
    NoResult: (409, "no_result"),
    NotShown: (409, "not_shown"),
    JobsUnavailable: (503, "jobs_unavailable"),
    LearningUnavailable: (503, "jobs_unavailable"),
    LearningBusy: (429, "queue_full"),
    LearningFailed: (503, "learning_failed"),
    TooManyFollowers: (503, "too_busy"),
    AxesNotReady: (503, "axes_not_ready"),
    NotReady: (503, "not_ready"),
    EncoderNotLoaded: (409, "wrong_fingerprint"),
    EncoderNotAllowed: (403, "encoder_not_allowed"),
    EncodersFull: (409, "encoders_full"),
    EncoderBusy: (409, "encoder_busy"),
    NotOffered: (409, "not_offered"),
    TwoValues: (409, "two_values"),
    HeadNeeded: (409, "head_needed"),
    ServiceDown: (502, "service_down"),
    BadRequest: (422, "bad_request"),
}
"""Exception class → (HTTP status, code), for every exception that a client can meet."""

REFUSED = (TooSlow, TooLarge, TooBusy, Overloaded, Stopping)
"""The classes of `Refused`, each with its status and its code."""

INTERNAL = (500, "internal")
"""HTTP status and code of every exception that `ERRORS` does not have."""

REMOTE = ((502, "service_refused"), (502, "unexpected_answer"))
"""HTTP status and code of answers of the other service that are not passed on: it refuses this service, or answers with
what no such service answers."""

HEAD_CODES = {400: "bad_request", 408: "too_slow", 431: "headers_too_large"}
"""HTTP status → code, for requests whose headers cannot be read, are too slow or too large."""

HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
"""HTTP status → code, for errors that the web framework raises itself. Every other status has ``bad_request``."""


def status_and_code(error: Exception) -> tuple[int, str]:
    """Return the HTTP status and the code of `error`, by its nearest class that `ERRORS` contains."""
    if isinstance(error, RemoteProblem):
        return error.status, error.code
    status, code = next((ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS), INTERNAL)
    return status, error.reason if isinstance(error, encoders.BadMedia) else code
