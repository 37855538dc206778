"""The exceptions of the services, and the one table that maps every exception to its HTTP status and code.

The exceptions that a client can meet, with their statuses; `ERRORS` adds the codes. A class that is not in the table
is answered as its nearest base class that is; without one, the answer is 500 `internal` and the log has the details.

    embedder.errors
    ├── BadMedia 422  (BadImage, BadSound, BadArray, BadVideo; the code is the reason that the exception carries)
    ├── UnknownEncoder 404
    ├── ProbeMismatch 409
    └── DeviceFull, QueueFull, BatcherStopped 503
    store.errors
    └── StoreError 503
        ├── DiskFull 507
        ├── UnknownId, UnknownTask, UnknownFeatures 404
        ├── FeaturesMismatch 409
        └── AmbiguousFeatures, BadSplit, BadLabels, BadVectors 422
    classifiers.errors
    ├── UnknownHead, UnknownAlias, UnknownVersion 404
    ├── WrongFingerprint 409
    ├── BadName, BadVectors, UnknownCoverage, UnknownSets, NoOutlierScore, NoTexts 422
    └── BadArtifact 503
    services.web.errors
    ├── UnknownBackfill 404
    ├── BadRequest 422
    ├── EncoderNotLoaded 409
    ├── ServiceDown 502
    ├── RemoteProblem  (the status and the code that the other service answered)
    └── TooLarge  (413; an HTTPException of the web framework)
"""

from starlette.exceptions import HTTPException

import classifiers.errors as heads
import embedder.errors as encoders
import store.errors as stored


class ServiceDown(RuntimeError):
    """The other service is needed for the answer and does not answer."""

    def __init__(self, service: str, url: str, why: str) -> None:
        super().__init__(f"the {service} service at {url} does not answer ({why})")
        self.service = service


class RemoteProblem(RuntimeError):
    """The other service answered with an error. Its `status` (HTTP), `code` and message are passed on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


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


class UnknownBackfill(LookupError):
    """No backfill of this process has this id."""

    def __init__(self, job_id: str, known: list[str]) -> None:
        super().__init__(
            f"no backfill {job_id!r} in this process; known: {', '.join(known) or 'none'}. "
            "The list starts anew when the service does"
        )


class TooLarge(HTTPException):
    """A request passed a limit on its size while it was still being read.

    An HTTPException, because FastAPI and Starlette turn every other exception into another error while they read a
    body.
    """

    def __init__(self, message: str) -> None:
        super().__init__(status_code=413, detail=message)


ERRORS: dict[type[Exception], tuple[int, str]] = {
    encoders.BadMedia: (422, "bad_media"),
    encoders.UnknownEncoder: (404, "unknown_encoder"),
    encoders.ProbeMismatch: (409, "probe_mismatch"),
    encoders.DeviceFull: (503, "device_full"),
    encoders.QueueFull: (503, "queue_full"),
    encoders.BatcherStopped: (503, "stopping"),
    stored.UnknownId: (404, "unknown_id"),
    stored.UnknownTask: (404, "unknown_task"),
    stored.UnknownFeatures: (404, "unknown_encoder"),
    stored.AmbiguousFeatures: (422, "ambiguous_encoder"),
    stored.FeaturesMismatch: (409, "wrong_fingerprint"),
    stored.BadSplit: (422, "bad_split"),
    stored.BadLabels: (422, "bad_labels"),
    stored.BadVectors: (422, "bad_vectors"),
    stored.DiskFull: (507, "disk_full"),
    stored.StoreError: (503, "store_unavailable"),
    heads.UnknownHead: (404, "unknown_head"),
    heads.UnknownAlias: (404, "unknown_alias"),
    heads.UnknownVersion: (404, "unknown_version"),
    heads.BadArtifact: (503, "bad_head"),
    heads.WrongFingerprint: (409, "wrong_fingerprint"),
    heads.BadName: (422, "bad_name"),
    heads.BadVectors: (422, "bad_vectors"),
    heads.UnknownCoverage: (422, "unknown_coverage"),
    heads.UnknownSets: (422, "unknown_sets"),
    heads.NoOutlierScore: (422, "no_outlier_score"),
    heads.NoTexts: (422, "no_texts"),
    UnknownBackfill: (404, "unknown_backfill"),
    EncoderNotLoaded: (409, "wrong_fingerprint"),
    ServiceDown: (502, "service_down"),
    BadRequest: (422, "bad_request"),
}
"""Exception class → (HTTP status, code), for every exception that a client can meet."""

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
"""HTTP status → code, for errors that the web framework raises itself. Every other status has ``bad_request``."""


def status_and_code(error: Exception) -> tuple[int, str]:
    """Return the HTTP status and the code of `error`, by its nearest class that `ERRORS` contains."""
    if isinstance(error, RemoteProblem):
        return error.status, error.code
    status, code = next((ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS), (500, "internal"))
    return status, error.reason if isinstance(error, encoders.BadMedia) else code
