"""The client with which the classification service calls the embedding service."""

from typing import TypeVar

from services.calls import Call
from services.client import AsyncClient
from services.web.errors import RemoteProblem

R = TypeVar("R")

REFUSALS = (401, 403, 421)
"""Statuses with which the embedding service refuses this service, and not the request of its client."""


class EmbeddingClient(AsyncClient):
    """An `AsyncClient` whose refusals are errors of this service: its own client cannot mend them with another key."""

    async def _send(self, call: Call[R]) -> R:
        try:
            return await super()._send(call)
        except RemoteProblem as error:
            if error.status not in REFUSALS:
                raise
            why = f"the embedding service refuses the classification service: {error}"
            raise RemoteProblem(502, "service_refused", f"{why} (HEADWATER_EMBEDDING_KEY is what it sends)") from error
