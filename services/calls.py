"""The calls of both services as data: which request to send, and how to read its answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, JsonValue

from embedder.spec import Modality
from services.web.columns import Rows, unpack_rows
from services.web.errors import RemoteProblem
from services.web.framing import unframed
from services.web.media_types import PACKED, THUMBNAILS
from services.web.packed import pack_files, unpack_batch
from services.web.schemas import (
    AssetDetails,
    AssetsResponse,
    ClassifyResponse,
    EncoderInfo,
    ErrorBody,
    HeadsResponse,
    HistoryResponse,
    JobDetails,
    JobsResponse,
    LabelsChanged,
    LabelsResponse,
    NotReadyBody,
    OpenAIResponse,
    OverviewResponse,
    Problem,
    ReadyBody,
    SearchResponse,
    UndoResponse,
)
from services.web.wire import Thumbnail, Upload, VectoredBatch

NOT_READY = "it is still loading its encoders"
"""Reason of an embedding service that is not ready and says nothing more."""

READY_SECONDS = 3.0
"""Longest wait for the answer of `ready`. A service that takes longer is not ready."""

R = TypeVar("R")
M = TypeVar("M", bound=BaseModel)
File = Upload | Path | bytes


class ClassifyOptions(TypedDict, total=False):
    """Options of POST /classify. An option that is missing or None has the default of the service."""

    top_k: int
    coverage: float
    sets: Literal["lac", "aps"]
    min_probability: float | None
    max_outlier: float | None
    labels: Sequence[str] | None
    """Labels instead of the head's own, for heads that know texts of their labels. A label must not contain a comma."""
    modality: Modality | None
    """Modality of the files; None to detect it from the first bytes of each file."""


def _problem(response: httpx.Response) -> Problem:
    return ErrorBody.model_validate_json(response.content).error


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One request, and the functions that read its answer. Both raise ValueError for one that they cannot read.

    Attributes:
        read: reads a good answer.
        arguments: those of `httpx.Client.request`.
        problem: reads the answer to a request that failed.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], R]
    arguments: dict[str, Any] = field(default_factory=dict)
    problem: Callable[[httpx.Response], Problem] = _problem

    def result(self, response: httpx.Response) -> R:
        """Return what the service answered.

        Raises RemoteProblem for an error. Its code is `unexpected_answer` if the answer is none of a Headwater service;
        the status is then 502, unless the answer has the status of an error itself.
        """
        try:
            if response.is_success:
                return self.read(response)
            problem = self.problem(response)
        except ValueError:
            status = response.status_code if response.is_error else 502
            raise RemoteProblem(status, "unexpected_answer", _unexpected(response)) from None
        raise RemoteProblem(response.status_code, problem.code, problem.message, _retry_after(response))


class Calls:
    """A method for each call. Both clients have the same methods: they send the call and return its result."""

    def embed(
        self, files: Iterable[File], *, encoder: str, tokens: bool = False, modality: Modality | None = None
    ) -> Call[VectoredBatch]:
        """Embedding service: return for each file its (d,) float32 vector, or its problem.

        Args:
            encoder: name or fingerprint.
            tokens: return all tokens of an image, one after the other as (P · F,), instead of its vector.
            modality: modality of the files; None to detect it from the first bytes of each file.
        """
        body = pack_files(list(map(_name_and_data, files)), encoder=encoder, tokens=tokens, modality=modality)
        arguments = {"content": body, "headers": {"Content-Type": PACKED}}
        return Call("POST", "/v1/embed", lambda response: unpack_batch(response.content), arguments)

    def embed_texts(self, texts: Sequence[str], *, encoder: str) -> Call[NDArray[np.float32]]:
        """Embedding service: return the vectors of the texts, (n, d) float32."""
        return Call("POST", "/v1/embeddings", _vectors, {"json": {"model": encoder, "input": list(texts)}})

    def classify(
        self, files: Iterable[File], *, heads: Sequence[str] = (), **options: Unpack[ClassifyOptions]
    ) -> Call[ClassifyResponse]:
        """Classification service: return the answers of every head for every file."""
        return _classify(heads, options, files=_form("images", files))

    def classify_ids(
        self, ids: Sequence[str], *, heads: Sequence[str] = (), **options: Unpack[ClassifyOptions]
    ) -> Call[ClassifyResponse]:
        """Classification service: return the answers of every head for stored assets. Nothing is embedded."""
        return _classify(heads, options, json={"ids": list(ids)})

    def heads(self) -> Call[HeadsResponse]:
        """Classification service: return every head, and the reasons for which others were refused."""
        return Call("GET", "/heads", _body(HeadsResponse))

    def promote(self, name: str, alias: str, version: str) -> Call[HeadsResponse]:
        """Classification service: point `alias` of the head `name` at `version`. Return every head."""
        arguments = {"json": {"alias": alias, "version": version}}
        return Call("POST", f"/heads/{name}/alias", _body(HeadsResponse), arguments)

    def search(
        self,
        image: File | None = None,
        *,
        encoder: str | None = None,
        k: int = 10,
        id: str | None = None,
        text: str | None = None,
        task: str | None = None,
        label: str | None = None,
        split: str | None = None,
    ) -> Call[SearchResponse]:
        """Classification service: return the `k` stored assets nearest to an image, to the asset `id` or to a text.

        Args:
            encoder: an encoder with stored vectors; None for the best one for this query, which the answer names.
            task: only assets that this task labels, with `label` and in `split` if given.
        """
        given = _given(encoder=encoder, k=k, id=id, text=text, task=task, label=label, split=split)
        arguments: dict[str, Any] = {"params": given}
        if image is not None:
            arguments["files"] = _form("images", [image])
        return Call("GET" if image is None else "POST", "/search", _body(SearchResponse), arguments)

    def thumbnails(self, ids: Sequence[str], *, size: Literal[128, 256, 512] = 256) -> Call[list[Thumbnail]]:
        """Classification service: return for each of at most 256 stored assets its picture, or its problem.

        Args:
            size: long side of the pictures in pixels.
        """
        return Call("POST", "/v1/thumbnails", _thumbnails, {"json": {"ids": list(ids), "size": size}})

    def asset(self, id: str) -> Call[AssetDetails]:
        """Classification service: return a stored asset: its file, its labels, and the heads that it taught."""
        return Call("GET", f"/v1/assets/{id}", _body(AssetDetails))

    def store_files(
        self,
        files: Iterable[File],
        *,
        task: str | None = None,
        labels: Sequence[str] = (),
        split: str | None = None,
        modality: Modality | None = None,
    ) -> Call[AssetsResponse]:
        """Classification service: store files without embedding them. A job of the kind "backfill" embeds them.

        Args:
            task, labels, split: the labels that every file gets, and their split; `task` and `labels` go together.
            modality: modality of the files; None to detect it from the first bytes of each file.
        """
        params = _given(task=task, label=list(labels) or None, split=split, modality=modality)
        return Call("POST", "/v1/files", _body(AssetsResponse), {"params": params, "files": _form("files", files)})

    def overview(self) -> Call[OverviewResponse]:
        """Classification service: return what the store has, in numbers: assets, tasks with their classes, encoders."""
        return Call("GET", "/v1/overview", _body(OverviewResponse))

    def rows(
        self,
        *,
        task: str | None = None,
        encoder: str | None = None,
        head: str | None = None,
        axes: Literal["pca", "lda", "umap"] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Call[Rows]:
        """Classification service: return all stored assets as NumPy arrays, in stored order.

        Args:
            task: adds the columns `label`, `labels_end`, `labels_flat` and `split`.
            encoder: adds `vector`, and `x` and `y`, the coordinates on the `axes`; None for the encoder of the head.
            head: adds the head's answers: `prediction`, `probability`, `margin`, `outlier`, `set_size`.
            columns: columns to ask for; None for all that the other arguments allow.
        """
        listed = None if columns is None else ",".join(columns)
        params = _given(task=task, encoder=encoder, head=head, axes=axes, columns=listed)
        return Call("GET", "/v1/rows", lambda response: unpack_rows(response.content), {"params": params})

    def labels(
        self, task: str, *, label: str | None = None, split: str | None = None, start: int = 0, limit: int = 100
    ) -> Call[LabelsResponse]:
        """Both services: return a page of the labels of a task, and the number of all that match."""
        params = _given(task=task, label=label, split=split, start=start, limit=limit)
        return Call("GET", "/v1/labels", _body(LabelsResponse), {"params": params})

    def set_labels(
        self, task: str, labels: Mapping[str, Sequence[str]], *, split: str | None = None, source: str = ""
    ) -> Call[LabelsChanged]:
        """Both services: give stored assets their labels, by asset id. All are set, or none.

        Args:
            split: split of assets that have none in this task yet.
            source: who or what made the labels.
        """
        rows = [{"id": id_, "labels": list(some), "split": split} for id_, some in labels.items()]
        body = {"task": task, "labels": rows, "source": source}
        return Call("POST", "/v1/labels", _body(LabelsChanged), {"json": body})

    def remove_labels(self, task: str, ids: Sequence[str]) -> Call[LabelsChanged]:
        """Both services: remove the labels of at most 100 assets in a task."""
        return Call("DELETE", "/v1/labels", _body(LabelsChanged), {"params": {"task": task, "id": list(ids)}})

    def label_history(self, id: str, *, task: str | None = None) -> Call[HistoryResponse]:
        """Both services: return all labels that an asset has and had."""
        return Call("GET", "/v1/labels/history", _body(HistoryResponse), {"params": _given(id=id, task=task)})

    def undo(self, *, task: str | None = None, at: datetime | None = None) -> Call[UndoResponse]:
        """Both services: take the last change of labels back.

        Args:
            task: only of this task.
            at: time of the change; the service refuses if another one came after it.
        """
        body = {"task": task, "at": at.isoformat() if at else None}
        return Call("POST", "/v1/labels/undo", _body(UndoResponse), {"json": body})

    def start_job(self, kind: str, /, **options: JsonValue) -> Call[JobDetails]:
        """Classification service: queue a job. Return its id and its place in the queue.

        Args:
            kind: "ingest", "backfill", "train", "compare" or "predict".
            options: the fields of that kind, such as `task` and `name` for "train".
        """
        return Call("POST", "/v1/jobs", _body(JobDetails), {"json": {"kind": kind, **options}})

    def jobs(self, *, start: int = 0, limit: int = 50) -> Call[JobsResponse]:
        """Classification service: return a page of the jobs, the newest first, and the number of all."""
        return Call("GET", "/v1/jobs", _body(JobsResponse), {"params": {"start": start, "limit": limit}})

    def job(self, job_id: str) -> Call[JobDetails]:
        """Classification service: return a job with its state, its progress, the end of its log, and its result."""
        return Call("GET", f"/v1/jobs/{job_id}", _body(JobDetails))

    def cancel_job(self, job_id: str) -> Call[JobDetails]:
        """Classification service: cancel a job that waits, or ask one that runs to stop."""
        return Call("POST", f"/v1/jobs/{job_id}/cancel", _body(JobDetails))

    def job_result(self, job_id: str) -> Call[bytes]:
        """Classification service: return the file that a job has made. All of it is in memory then."""
        return Call("GET", f"/v1/jobs/{job_id}/result", _file)

    def encoders(self) -> Call[list[EncoderInfo]]:
        """Embedding service: return every encoder that was asked for, with its state."""
        return Call("GET", "/v1/encoders", _encoders)

    def load_encoder(self, name: str) -> Call[EncoderInfo]:
        """Embedding service: load an encoder in the background. Its state is `loading` until it is ready."""
        return Call("POST", "/v1/encoders", _body(EncoderInfo), {"json": {"name": name}})

    def unload_encoder(self, name: str) -> Call[EncoderInfo]:
        """Embedding service: answer what waits for an encoder, then free its memory."""
        return Call("DELETE", f"/v1/encoders/{quote(name)}", _body(EncoderInfo))

    def ready(self, *, needs: Sequence[str] = (), seconds: float = READY_SECONDS) -> Call[dict[str, Any]]:
        """Both services: return the details of a service that is ready.

        If it is not ready, the code of the RemoteProblem is `not_ready` and the message has the reason.

        Args:
            needs: capabilities of the classification service that must be ready too: "vectors", "ids", "media".
            seconds: longest wait for the answer.
        """
        arguments = {"params": {"needs": list(needs)}, "timeout": seconds}
        return Call("GET", "/health/ready", _ready, arguments, _not_ready)


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds of the header Retry-After; 1 if there is none, or a date."""
    given = response.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() else 1.0


def _given(**params: object) -> dict[str, object]:
    return {name: value for name, value in params.items() if value is not None}


def _classify(heads: Sequence[str], options: ClassifyOptions, **content: object) -> Call[ClassifyResponse]:
    labels = options.get("labels")
    if labels and (wrong := [label for label in labels if "," in label]):
        raise ValueError(f"label {wrong[0]!r} contains a comma, which separates labels in a request; leave it out")
    params = _given(**options | {"head": list(heads), "labels": ",".join(labels) if labels else None})
    return Call("POST", "/classify", _body(ClassifyResponse), {"params": params, **content})


def _form(name: str, files: Iterable[File]) -> list[tuple[str, tuple[str, bytes]]]:
    return [(name, _name_and_data(file)) for file in files]


def _name_and_data(file: File) -> tuple[str, bytes]:
    if isinstance(file, Path):
        return file.name, file.read_bytes()
    return (file.name or "file", file.data) if isinstance(file, Upload) else ("file", file)


def _ready(response: httpx.Response) -> dict[str, Any]:
    return ReadyBody.model_validate_json(response.content).model_dump()


def _not_ready(response: httpx.Response) -> Problem:
    if response.status_code != 503:
        return _problem(response)
    body = NotReadyBody.model_validate_json(response.content)
    return Problem(code="not_ready", message=body.reason or body.failure or NOT_READY)


def _unexpected(response: httpx.Response) -> str:
    kind = response.headers.get("content-type", "of no named type")
    start = " ".join(response.text[:200].split())
    return (
        f"{response.url.copy_with(query=None)} answered {response.status_code} with content that no Headwater service "
        f"sends ({kind}): {start or 'nothing'}; another program may listen there, or a proxy may have answered"
    )


def _file(response: httpx.Response) -> bytes:
    if not response.headers.get("content-disposition", "").startswith("attachment"):
        raise ValueError("no file")
    return response.content


def _thumbnails(response: httpx.Response) -> list[Thumbnail]:
    if response.headers.get("content-type") != THUMBNAILS:
        raise ValueError("no thumbnails")
    header, contents = unframed(response.content)
    found, start = [], 0
    for item in header["items"]:
        if "error" in item:
            found.append(Thumbnail(item["id"], error=Problem(**item["error"])))
            continue
        end = start + item["bytes"]
        picture = bytes(contents[start:end])
        found.append(Thumbnail(item["id"], item["type"], picture, item["width"], item["height"]))
        start = end
    return found


def _encoders(response: httpx.Response) -> list[EncoderInfo]:
    return [EncoderInfo.model_validate(each) for each in response.json()]


def _body(schema: type[M]) -> Callable[[httpx.Response], M]:
    return lambda response: schema.model_validate_json(response.content)


def _vectors(response: httpx.Response) -> NDArray[np.float32]:
    embedded = OpenAIResponse.model_validate_json(response.content).data
    if error := next((item.error for item in embedded if item.error), None):  # a text that is a file as a data URI
        raise RemoteProblem(422, error.code, error.message)
    return np.array([item.embedding for item in embedded], dtype=np.float32)
