"""What can go wrong between a client and a service, and the one table of what every error means over HTTP."""

import classifiers.errors as heads
import embedder.errors as encoders
import store.errors as stored


class ServiceDown(RuntimeError):
    """A service that is needed for the answer does not answer."""

    def __init__(self, service: str, url: str, why: str) -> None:
        super().__init__(f"the {service} service at {url} does not answer: {why}; start it, or set its URL")
        self.service = service


class RemoteProblem(RuntimeError):
    """A service answered with an error of its own: `status` (HTTP), `code` and sentence are passed on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class BadRequest(ValueError):
    """A request can't be understood: which part, and what is allowed."""


class UnknownBackfill(LookupError):
    """No backfill of this process has this id."""

    def __init__(self, job_id: str, known: list[str]) -> None:
        super().__init__(f"no backfill {job_id!r} here; known: {', '.join(known) or 'none'} (a restart forgets them)")


ERRORS: dict[type[Exception], tuple[int, str]] = {
    encoders.BadMedia: (422, "bad_media"),
    encoders.UnknownEncoder: (404, "unknown_encoder"),
    encoders.ProbeMismatch: (409, "probe_mismatch"),
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
    ServiceDown: (502, "service_down"),
    BadRequest: (422, "bad_request"),
}
"""Every error that a client can meet: its status and its code. Anything else is a 500 without details."""

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
"""Codes of the errors that the web framework raises by itself; of others: ``bad_request``."""


def status_and_code(error: Exception) -> tuple[int, str]:
    """What `error` is over HTTP, by the nearest of its classes that the table knows."""
    if isinstance(error, RemoteProblem):
        return error.status, error.code
    status, code = next((ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS), (500, "internal"))
    return status, error.reason if isinstance(error, encoders.BadMedia) else code
