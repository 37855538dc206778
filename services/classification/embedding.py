"""The embedding service as the classification service sees it: behind HTTP, or in the same process."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

from embedder.spec import Modality
from services.calls import READY_SECONDS, Call
from services.client import AsyncClient
from services.web import tracing
from services.web.document.answers import CALLED, answers_of
from services.web.errors import RemoteProblem
from services.web.wire import Upload, VectoredBatch

R = TypeVar("R")

REFUSALS = (401, 403, 421)
"""Statuses with which the embedding service refuses this service, and not the request of its client."""

PASSED = {answer for endpoint in CALLED for answer in answers_of(endpoint)}
"""HTTP status and code of each error that this service passes on."""


class Embedding(Protocol):
    """What the classification service asks of the embedding service. `services.calls.Calls` describes the calls.

    An encoder that is not loaded is a RemoteProblem with the code `unknown_encoder`; no answer is ServiceDown.
    """

    async def embed(
        self, files: Sequence[Upload], /, *, encoder: str, tokens: bool = False, modality: Modality | None = None
    ) -> VectoredBatch: ...

    async def embed_texts(self, texts: Sequence[str], /, *, encoder: str) -> NDArray[np.float32]: ...

    async def ready(self, *, seconds: float = READY_SECONDS) -> dict[str, Any]: ...

    async def aclose(self) -> None: ...


class EmbeddingClient(AsyncClient):
    """An `AsyncClient` whose refusals are errors of this service: its own client cannot mend them with another key.

    Its calls are spans of the trace of the request for which they are made.
    """

    def _request(self, call: Call[R]) -> httpx.Request:
        request = super()._request(call)
        request.headers.update(tracing.headers())
        return request

    async def _send(self, call: Call[R]) -> R:
        try:
            with tracing.call(call.method, call.path):
                return await super()._send(call)
        except RemoteProblem as error:
            if error.status not in REFUSALS:
                if (error.status, error.code) in PASSED:
                    raise
                raise RemoteProblem(502, "unexpected_answer", str(error)) from error
            why = f"the embedding service refuses the classification service: {error}"
            raise RemoteProblem(502, "service_refused", f"{why} (HEADWATER_EMBEDDING_KEY is what it sends)") from error
