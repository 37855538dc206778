"""Both services in one process, on one event loop, each on its port.

The classification service calls the embedding service without HTTP between them. That saves processor time for each
photo (`python -m benchmarks.serve`), which counts on a machine with few cores. In exchange the classification service
needs torch where the encoders do, shares the interpreter with them, and ends when they do.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from embedder.errors import UnknownEncoder
from embedder.spec import Modality
from services import classification, embedding
from services.calls import NOT_READY, READY_SECONDS
from services.embedding.state import EmbeddingService
from services.processes import url_of
from services.settings import Settings
from services.web import server
from services.web.errors import RemoteProblem, ServiceDown, status_and_code
from services.web.wire import Upload, VectoredBatch


class InProcess:
    """Implements `services.classification.embedding.Embedding`. Errors of the embedding service pass as they are.

    Args:
        url: address of the embedding service, for messages.
        seconds: longest wait for an answer.
    """

    def __init__(self, service: EmbeddingService, *, url: str, seconds: float) -> None:
        self._service, self._url, self._seconds = service, url, seconds

    async def embed(
        self,
        files: Sequence[Upload],
        /,
        *,
        encoder: str,
        tokens: bool = False,
        modality: Modality | None = None,  # noqa: ARG002 - uploads have it; only a form does not carry it
    ) -> VectoredBatch:
        async with self._in_time():
            return await self._service.embed(files, encoder=encoder, tokens=tokens)

    async def embed_texts(self, texts: Sequence[str], /, *, encoder: str) -> NDArray[np.float32]:
        async with self._in_time():
            return np.stack(await self._service.embed_texts(texts, encoder=encoder))

    async def ready(self, *, seconds: float = READY_SECONDS) -> dict[str, Any]:  # noqa: ARG002 - it is known at once
        ready, details = await self._service.ready()
        if not ready:
            raise RemoteProblem(503, "not_ready", details["failure"] or NOT_READY)
        return details

    async def aclose(self) -> None:
        """Do nothing: the embedding service ends by itself."""

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Raise ServiceDown if the block takes too long, and the problem that a client would get for an encoder."""
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise ServiceDown("embedding", self._url, "timed out") from None
        except UnknownEncoder as error:
            raise RemoteProblem(*status_and_code(error), str(error)) from error


def create_apps(settings: Settings) -> tuple[FastAPI, FastAPI]:
    """Return the app of the embedding service, and that of a classification service which calls it directly."""
    below = embedding.create_app(settings)
    url = url_of(settings.host, settings.embedding_port)
    direct = InProcess(below.state.service, url=url, seconds=settings.embedding_timeout)
    return below, classification.create_app(settings, direct)


def run(settings: Settings) -> None:
    """Serve both until the process is told to stop."""
    below, above = create_apps(settings)
    server.run_both(
        server.make_server(above, settings, settings.classification_port),
        server.make_server(below, settings, settings.embedding_port),
    )
