"""The client with which the classification service calls the embedding service."""

from typing import TypeVar

from services.calls import Call
from services.client import AsyncClient
from services.web.document.answers import CALLED, answers_of
from services.web.errors import RemoteProblem

R = TypeVar("R")

REFUSALS = (401, 403, 421)
"""Statuses with which the embedding service refuses this service, and not the request of its client."""

PASSED = {answer for endpoint in CALLED for answer in answers_of(endpoint)} | {(503, "not_ready")}
"""HTTP status and code of each error that this service passes on."""


class EmbeddingClient(AsyncClient):
    """An `AsyncClient` whose refusals are errors of this service: its own client cannot mend them with another key."""

    async def _send(self, call: Call[R]) -> R:
        try:
            return await super()._send(call)
        except RemoteProblem as error:
            if error.status not in REFUSALS:
                if (error.status, error.code) in PASSED:
                    raise
                raise RemoteProblem(502, "unexpected_answer", str(error)) from error
            why = f"the embedding service refuses the classification service: {error}"
            raise RemoteProblem(502, "service_refused", f"{why} (HEADWATER_EMBEDDING_KEY is what it sends)") from error
