"""Python clients of both services, sync and async. No torch, no model: what a request needs and no more.

Every call is built once, as data (`_Call`); the two clients differ in how they send it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypedDict, TypeVar, Unpack

import httpx
import numpy as np
from httpx_aiohttp import AiohttpTransport
from numpy.typing import NDArray

from embedder.spec import Modality
from services.web.errors import RemoteProblem, ServiceDown
from services.web.schemas import ClassifyResponse, ErrorBody, HeadsResponse, OpenAIResponse, SearchResponse
from services.web.wire import ARROW_STREAM, Upload, VectoredBatch, from_arrow

READY_SECONDS = 3.0
"""Longest wait for a service to say whether it is ready; one that takes longer is not."""

R = TypeVar("R")
File = Upload | Path | bytes


class ClassifyOptions(TypedDict, total=False):
    """Options of POST /classify, with the service's defaults; None is left out."""

    top_k: int
    coverage: float
    sets: Literal["lac", "aps"]
    min_probability: float | None
    max_outlier: float | None
    labels: Sequence[str] | None
    """Asked in place of the head's own; for heads with texts. None may hold a comma."""
    modality: Modality | None
    """What files are to be read as; None for what their first bytes say."""


@dataclass(frozen=True, slots=True)
class _Call(Generic[R]):
    method: str
    path: str
    parse: Callable[[httpx.Response], R]
    arguments: dict[str, Any] = field(default_factory=dict)


def _files(field_name: str, files: Iterable[File]) -> list[tuple[str, tuple[str, bytes]]]:
    return [(field_name, _named(file)) for file in files]


def _named(file: File) -> tuple[str, bytes]:
    if isinstance(file, Path):
        return file.name, file.read_bytes()
    return (file.name or "file", file.data) if isinstance(file, Upload) else ("file", file)


def _embed(files: Iterable[File], encoder: str, tokens: bool, modality: Modality | None) -> _Call[VectoredBatch]:
    return _Call(
        "POST",
        "/v1/embed",
        lambda response: from_arrow(response.content),
        {
            "params": {"encoder": encoder}
            | ({"tokens": True} if tokens else {})
            | ({"modality": modality} if modality else {}),
            "files": _files("files", files),
            "headers": {"Accept": ARROW_STREAM},
        },
    )


def _embed_texts(texts: Sequence[str], encoder: str) -> _Call[NDArray[np.float32]]:
    def parse(response: httpx.Response) -> NDArray[np.float32]:
        data = OpenAIResponse.model_validate_json(response.content).data
        return np.array([item.embedding for item in data], dtype=np.float32)

    return _Call("POST", "/v1/embeddings", parse, {"json": {"model": encoder, "input": list(texts)}})


def _classify(heads: Sequence[str], options: ClassifyOptions, content: dict[str, Any]) -> _Call[ClassifyResponse]:
    params = {"head": list(heads)} | {name: value for name, value in options.items() if value is not None}
    if labels := options.get("labels"):
        params["labels"] = ",".join(labels)
    return _Call(
        "POST",
        "/classify",
        lambda response: ClassifyResponse.model_validate_json(response.content),
        {"params": params, **content},
    )


def _heads() -> _Call[HeadsResponse]:
    return _Call("GET", "/heads", lambda response: HeadsResponse.model_validate_json(response.content))


def _promote(name: str, alias: str, version: str) -> _Call[HeadsResponse]:
    return _Call(
        "POST",
        f"/heads/{name}/alias",
        lambda response: HeadsResponse.model_validate_json(response.content),
        {"json": {"alias": alias, "version": version}},
    )


def _search(params: dict[str, str | int], image: File | None) -> _Call[SearchResponse]:
    return _Call(
        "GET" if image is None else "POST",
        "/search",
        lambda response: SearchResponse.model_validate_json(response.content),
        {"params": params} if image is None else {"params": params, "files": _files("images", [image])},
    )


def _ready(needs: Sequence[str], seconds: float) -> _Call[dict[str, Any]]:
    arguments = {"params": {"needs": list(needs)}, "timeout": seconds}
    return _Call("GET", "/health/ready", lambda response: dict(response.json()), arguments)


def _parse(response: httpx.Response, call: _Call[R]) -> R:
    if response.is_success:
        return call.parse(response)
    try:
        error = ErrorBody.model_validate_json(response.content).error
    except ValueError:
        raise RemoteProblem(response.status_code, "unexpected_answer", response.text[:200]) from None
    raise RemoteProblem(response.status_code, error.code, error.message)


class Client:
    """A client that blocks. `url` is that of the service whose method is called; close it, or use `with`.

    Raises ServiceDown when nothing answers, RemoteProblem with the service's own code and message.
    """

    def __init__(self, url: str, *, service: str = "classification", timeout: float = 30.0) -> None:
        self._service, self._http = service, httpx.Client(base_url=url, timeout=timeout)

    def embed(
        self, files: Iterable[File], *, encoder: str, tokens: bool = False, modality: Modality | None = None
    ) -> VectoredBatch:
        """Embedding service: a (d,) float32 vector, or all tokens (P · F,), or a problem for every file.

        Args:
            modality: what the files are to be read as; None for what their first bytes say.
        """
        return self._send(_embed(files, encoder, tokens, modality))

    def embed_texts(self, texts: Sequence[str], *, encoder: str) -> NDArray[np.float32]:
        """Embedding service: (n, d) float32."""
        return self._send(_embed_texts(texts, encoder))

    def classify(
        self, files: Iterable[File], *, heads: Sequence[str] = (), **options: Unpack[ClassifyOptions]
    ) -> ClassifyResponse:
        """Classification service: answers of every head for every file."""
        return self._send(_classify(heads, options, {"files": _files("images", files)}))

    def classify_ids(
        self, ids: Sequence[str], *, heads: Sequence[str] = (), **options: Unpack[ClassifyOptions]
    ) -> ClassifyResponse:
        """The same for assets whose vectors are stored: nothing is embedded."""
        return self._send(_classify(heads, options, {"json": {"ids": list(ids)}}))

    def heads(self) -> HeadsResponse:
        return self._send(_heads())

    def promote(self, name: str, alias: str, version: str) -> HeadsResponse:
        """Point `alias` of head `name` at `version`."""
        return self._send(_promote(name, alias, version))

    def search(self, image: File | None = None, *, encoder: str, k: int = 10, **query: str) -> SearchResponse:
        """Classification service: stored assets nearest to `image`, or to `id=` or `text=`."""
        return self._send(_search({"encoder": encoder, "k": k, **query}, image))

    def ready(self, *, needs: Sequence[str] = (), seconds: float = READY_SECONDS) -> dict[str, Any]:
        """Return the details of a ready service; RemoteProblem or ServiceDown while it is not.

        Args:
            needs: of the classification service, what must be ready too: "vectors", "ids", "media".
            seconds: longest wait for the answer.
        """
        return self._send(_ready(needs, seconds))

    def _send(self, call: _Call[R]) -> R:
        try:
            response = self._http.request(call.method, call.path, **call.arguments)
        except httpx.TransportError as error:
            raise _down(self._service, self._http, error) from error
        return _parse(response, call)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_LIMITS = httpx.Limits(max_connections=1000, keepalive_expiry=2.0)
"""Connections enough for a full queue, let go before uvicorn closes an idle one (5 s) and a request meets its end."""


class AsyncClient:
    """`Client` with the same methods as coroutines; close it with `aclose`, or use `async with`.

    It heeds no proxy of the environment: it is made for the way from one service to the other.
    """

    def __init__(self, url: str, *, service: str = "classification", timeout: float = 30.0) -> None:
        self._service = service
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout, transport=AiohttpTransport(limits=_LIMITS))

    async def embed(
        self, files: Iterable[File], *, encoder: str, tokens: bool = False, modality: Modality | None = None
    ) -> VectoredBatch:
        return await self._send(_embed(files, encoder, tokens, modality))

    async def embed_texts(self, texts: Sequence[str], *, encoder: str) -> NDArray[np.float32]:
        return await self._send(_embed_texts(texts, encoder))

    async def classify(
        self, files: Iterable[File], *, heads: Sequence[str] = (), **options: Unpack[ClassifyOptions]
    ) -> ClassifyResponse:
        return await self._send(_classify(heads, options, {"files": _files("images", files)}))

    async def classify_ids(
        self, ids: Sequence[str], *, heads: Sequence[str] = (), **options: Unpack[ClassifyOptions]
    ) -> ClassifyResponse:
        return await self._send(_classify(heads, options, {"json": {"ids": list(ids)}}))

    async def heads(self) -> HeadsResponse:
        return await self._send(_heads())

    async def promote(self, name: str, alias: str, version: str) -> HeadsResponse:
        return await self._send(_promote(name, alias, version))

    async def search(self, image: File | None = None, *, encoder: str, k: int = 10, **query: str) -> SearchResponse:
        return await self._send(_search({"encoder": encoder, "k": k, **query}, image))

    async def ready(self, *, needs: Sequence[str] = (), seconds: float = READY_SECONDS) -> dict[str, Any]:
        return await self._send(_ready(needs, seconds))

    async def _send(self, call: _Call[R]) -> R:
        try:
            response = await self._http.request(call.method, call.path, **call.arguments)
        except httpx.TransportError as error:
            raise _down(self._service, self._http, error) from error
        return _parse(response, call)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _down(service: str, http: httpx.Client | httpx.AsyncClient, error: httpx.TransportError) -> ServiceDown:
    return ServiceDown(service, str(http.base_url), f"{type(error).__name__} {error}".strip())
