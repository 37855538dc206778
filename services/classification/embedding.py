"""The client with which the classification service calls the embedding service."""

from typing import TypeVar

import httpx

from services.calls import Call
from services.client import AsyncClient
from services.settings import collector_named
from services.web import tracing
from services.web.errors import RemoteProblem

R = TypeVar("R")

REFUSALS = (401, 403, 421)
"""Statuses with which the embedding service refuses this service, and not the request of its client."""


async def _continue_trace(request: httpx.Request) -> None:
    request.headers.update(tracing.headers())


class EmbeddingClient(AsyncClient):
    """An `AsyncClient` whose refusals are errors of this service: its own client cannot mend them with another key.

    Its calls are spans of the trace of the request for which they are made."""

    def __init__(self, url: str, *, timeout: float, key: str) -> None:
        super().__init__(url, service="embedding", timeout=timeout, key=key)
        if collector_named():
            self._http.event_hooks["request"].append(_continue_trace)

    async def _send(self, call: Call[R]) -> R:
        try:
            with tracing.call(call.method, call.path):
                return await super()._send(call)
        except RemoteProblem as error:
            if error.status not in REFUSALS:
                raise
            why = f"the embedding service refuses the classification service: {error}"
            raise RemoteProblem(502, "service_refused", f"{why} (HEADWATER_EMBEDDING_KEY is what it sends)") from error
