"""The errors that each endpoint can answer, from the tables of exceptions, and their place in the OpenAPI document."""

from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, get_args

import classifiers.errors as heads
import embedder.errors as encoders
import store.errors as stored
from services.web.access.errors import DENIED, CrossOrigin, RoleTooLow
from services.web.access.keys import Role
from services.web.access.roles import ENDPOINTS
from services.web.errors import (
    ERRORS,
    HEAD_CODES,
    HTTP_CODES,
    INTERNAL,
    REFUSED,
    REMOTE,
    AxesNotReady,
    BackfillsFull,
    BadRequest,
    EncoderBusy,
    EncoderNotAllowed,
    EncoderNotLoaded,
    EncodersFull,
    FolderNotAllowed,
    HeadNeeded,
    JobEnded,
    JobsFull,
    JobsUnavailable,
    LearningBusy,
    LearningFailed,
    LearningUnavailable,
    NoResult,
    NotOffered,
    NotReady,
    NotShown,
    Refused,
    ServiceDown,
    TooManyFollowers,
    TwoValues,
    UnknownBackfill,
    UnknownJob,
)

Answer = tuple[int, str]
"""HTTP status and code of an error."""

_DISK = (stored.StoreError, stored.DiskFull)
_ENCODER = (encoders.UnknownEncoder, NotReady, NotOffered)
_ENGINE = (encoders.QueueFull, encoders.DeviceFull, encoders.BatcherStopped)
_WRITABLE = (*_DISK, encoders.ProbeMismatch, stored.FeaturesMismatch)
_HEAD = (*_DISK, heads.UnknownHead, heads.UnknownAlias, heads.UnknownVersion, heads.BadArtifact)
_HEADS = (*_HEAD, HeadNeeded, heads.UnknownCoverage, heads.UnknownSets, heads.NoOutlierScore, heads.NoTexts)
_VECTORS = (encoders.UnknownEncoder, heads.WrongFingerprint, heads.BadVectors)
_TASK = (stored.UnknownTask, stored.BadSplit)
_STORED = (*_DISK, stored.UnknownId, stored.UnknownFeatures, stored.AmbiguousFeatures)
_NAMED = ("{name}", "{name}/versions/{version}")
_PROTOCOL = (*_NAMED, *(f"{each}/ready" for each in _NAMED))
_INFER = tuple(f"POST /v2/models/{each}/infer" for each in _NAMED)

RAISED: Mapping[str, tuple[type[Exception], ...]] = {
    "GET /health/live": (),
    "GET /health/ready": (),
    "GET /metrics": (),
    "GET /v1/encoders": (BadRequest,),
    "POST /v1/encoders": (BadRequest, encoders.UnknownEncoder, EncoderNotAllowed, EncodersFull),
    "DELETE /v1/encoders/{name}": (BadRequest, encoders.UnknownEncoder, EncoderBusy),
    "POST /v1/embed": (BadRequest, TwoValues, *_ENCODER, *_ENGINE),
    "POST /v1/embeddings": (BadRequest, *_ENCODER, *_ENGINE),
    "GET /v1/models": (BadRequest,),
    "GET /v1/models/{name}": (BadRequest, encoders.UnknownEncoder, NotReady),
    "POST /v1/assets": (BadRequest, TwoValues, *_ENCODER, *_ENGINE, *_WRITABLE, stored.BadSplit, stored.BadLabels),
    "POST /v1/backfills": (BadRequest, *_ENCODER, *_WRITABLE, BackfillsFull),
    "GET /v1/backfills": (BadRequest,),
    "GET /v1/backfills/{job_id}": (BadRequest, UnknownBackfill),
    "GET /v1/labels": (BadRequest, *_DISK, stored.UnknownTask, stored.BadSplit),
    "POST /v1/labels": (BadRequest, *_DISK, stored.UnknownId, stored.FrozenSplit, stored.BadSplit, stored.BadLabels),
    "DELETE /v1/labels": (BadRequest, *_DISK),
    "GET /v1/labels/history": (BadRequest, *_DISK, stored.UnknownId),
    "POST /v1/labels/undo": (BadRequest, *_DISK, stored.NothingToUndo),
    "POST /classify": (BadRequest, TwoValues, *_HEADS, *_VECTORS, *_STORED),
    "GET /heads": (BadRequest, *_DISK),
    "GET /heads/{name}": (BadRequest, *_HEAD),
    "GET /heads/{name}/report": (BadRequest, *_HEAD, heads.NoReport),
    "POST /heads/{name}/alias": (BadRequest, *_HEAD, heads.BadName),
    "GET /search": (BadRequest, *_STORED, *_TASK, EncoderNotLoaded),
    "POST /search": (BadRequest, TwoValues, *_STORED, *_TASK, EncoderNotLoaded),
    "GET /v1/me": (BadRequest,),
    "POST /v1/thumbnails": (BadRequest, *_DISK),
    "GET /v1/assets/{id}": (BadRequest, *_DISK, stored.UnknownId),
    "GET /v1/assets/{id}/thumbnail": (BadRequest, *_DISK, stored.UnknownId, NotShown),
    "GET /v1/assets/{id}/sound": (BadRequest, *_DISK, stored.UnknownId, NotShown),
    "POST /v1/files": (BadRequest, TwoValues, *_DISK, stored.BadSplit, stored.BadLabels),
    "GET /v1/quarantine": (BadRequest, *_DISK),
    "GET /v1/overview": (BadRequest, *_DISK),
    "GET /v1/rows": (
        *(BadRequest, NotOffered, AxesNotReady, *_DISK, *_HEAD),
        *(stored.UnknownTask, stored.UnknownFeatures, stored.AmbiguousFeatures),
    ),
    "POST /v1/jobs": (
        *(BadRequest, *_DISK, *_HEAD, heads.UnknownCoverage, heads.UnknownSets, stored.UnknownTask),
        *(encoders.UnknownEncoder, NotOffered, FolderNotAllowed, JobsFull, JobsUnavailable),
    ),
    "GET /v1/jobs": (BadRequest, *_DISK, JobsUnavailable),
    "GET /v1/jobs/{job_id}": (BadRequest, UnknownJob),
    "POST /v1/jobs/{job_id}/cancel": (BadRequest, *_DISK, UnknownJob, JobEnded, JobsUnavailable),
    "GET /v1/jobs/{job_id}/result": (BadRequest, UnknownJob, NoResult),
    "GET /v1/jobs/{job_id}/events": (BadRequest, UnknownJob, TooManyFollowers),
    "GET /v1/learn": (BadRequest, *_DISK, LearningUnavailable, LearningFailed),
    "POST /v1/learn": (
        *(BadRequest, *_DISK, *_HEAD, stored.UnknownTask, stored.UnknownFeatures, stored.AmbiguousFeatures),
        *(heads.NotTrainable, NotOffered, LearningUnavailable, LearningBusy, LearningFailed),
    ),
    "GET /v2": (BadRequest,),
    "GET /v2/health/live": (BadRequest,),
    "GET /v2/health/ready": (BadRequest,),
    **dict.fromkeys((f"GET /v2/models/{each}" for each in _PROTOCOL), (BadRequest, *_HEAD)),
    **dict.fromkeys(_INFER, (BadRequest, *_HEAD, *_VECTORS, *_STORED)),
}
"""Endpoint → the exceptions of `services.web.errors.ERRORS` that it can raise."""

CALLED: Mapping[str, tuple[str, ...]] = {
    "POST /classify": ("POST /v1/embed", "POST /v1/embeddings"),
    **dict.fromkeys(_INFER, ("POST /v1/embed",)),
    "GET /search": ("POST /v1/embeddings",),
    "POST /search": ("POST /v1/embed",),
}
"""Endpoint of the classification service → the endpoints of the embedding service that it calls. It passes on their
errors."""

MEDIA: set[Answer] = {(ERRORS[encoders.BadMedia][0], code) for code in (*get_args(encoders.Reason), "bad_base64")}
"""Errors of a request with one file, or with a text that is a file as a data URI, for a file that cannot be read."""

UNROUTED = dict.fromkeys(("GET /v1/models/{name}", "DELETE /v1/encoders/{name}"), (404, HTTP_CODES[404]))
"""Endpoint → the error for a name that the pattern of its path does not match: one with a line break."""

CAPABILITIES_OF = {"GET /health/ready": "needs"}
"""Endpoint → its parameter, for one that only some services have: with it, requests can be bad."""

SCHEMA = "#/components/schemas/ErrorBody"

RETRY_AFTER = {
    "description": "Seconds after which to try again.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
CHALLENGE = {
    "description": "The scheme in which to send a key: `Bearer`.",
    "required": True,
    "schema": {"type": "string"},
}
HEADERS = {401: {"WWW-Authenticate": CHALLENGE}, 429: {"Retry-After": RETRY_AFTER}, 503: {"Retry-After": RETRY_AFTER}}
"""Status → the headers of its answers, besides the request id that every answer has."""


def answers_of(endpoint: str) -> set[Answer]:
    """Return every error that an endpoint can answer, whoever answers it: the protocol, a guard, a limit, the code."""
    return _of_every(endpoint) | _of_code(endpoint)


def _of_every(endpoint: str) -> set[Answer]:
    """Return the errors that need no endpoint: requests that cannot be read, guards, limits, and faults."""
    needs_more = (ENDPOINTS[endpoint] or Role.read) > Role.read
    applies = {CrossOrigin: not endpoint.startswith("GET "), RoleTooLow: needs_more}
    kinds: tuple[type[Refused], ...] = (*DENIED, *REFUSED)
    refusals = {(kind.status, kind.code) for kind in kinds if applies.get(kind, True)}
    return {*HEAD_CODES.items(), INTERNAL, *refusals}


def _of_code(endpoint: str) -> set[Answer]:
    """Return the errors of the exceptions that an endpoint raises, or that the endpoints which it calls raise."""
    found = {ERRORS[kind] for kind in RAISED[endpoint]}
    if endpoint in UNROUTED:
        found.add(UNROUTED[endpoint])
    if endpoint in CALLED:
        passed = {answer for called in CALLED[endpoint] for answer in _of_code(called)}
        found |= passed | MEDIA | {ERRORS[ServiceDown], *REMOTE}
    return found


def documented_answers(operations: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Add its errors to each operation of a document. Return the answers that several operations share, by name."""
    found = {
        (endpoint, status): codes
        for endpoint, operation in operations.items()
        for status, codes in _by_status(endpoint, operation).items()
    }
    times = Counter((status, codes) for (_, status), codes in found.items())
    shared = {}
    for operation in operations.values():
        operation["responses"].pop("422", None)  # FastAPI's own, of another shape
    for (endpoint, status), codes in found.items():
        responses, answer = operations[endpoint]["responses"], _answer(status, codes)
        own = responses.pop(str(status), None)
        if own is not None:
            answer = _either(own, answer)
        elif times[status, codes] > 1:
            name = "-".join((str(status), *codes))
            shared[name], answer = answer, {"$ref": f"#/components/responses/{name}"}
        responses[str(status)] = answer
    return shared


def _by_status(endpoint: str, operation: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
    answers = answers_of(endpoint)
    if CAPABILITIES_OF.get(endpoint) in {each["name"] for each in operation.get("parameters", ())}:
        answers |= {ERRORS[BadRequest]}
    return {
        status: tuple(sorted(code for its, code in answers if its == status))
        for status in sorted({status for status, _ in answers})
    }


def _answer(status: int, codes: Iterable[str]) -> dict[str, Any]:
    """Return an answer of the document: its codes are all that the field `code` can have."""
    code = {"properties": {"error": {"properties": {"code": {"enum": list(codes)}}}}}
    request_id = {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{each}`' for each in codes)}.",
        "headers": {**request_id, **HEADERS.get(status, {})},
        "content": {"application/json": {"schema": {"$ref": SCHEMA, **code}}},
    }


def _either(own: Mapping[str, Any], error: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer that is the endpoint's `own`, or an error. Only the error has further headers."""
    schemas = [each["content"]["application/json"]["schema"] for each in (own, error)]
    return {
        "description": f"{own['description']}. {error['description']}",
        "content": {"application/json": {"schema": {"anyOf": schemas}}},
    }
