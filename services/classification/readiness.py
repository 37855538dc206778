"""Readiness of the classification service, one capability at a time."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from starlette.concurrency import run_in_threadpool

from classifiers.errors import listing
from classifiers.published.registry import Registry
from services.classification.embedding import Embedding
from services.web.app import Service
from services.web.errors import RemoteProblem, ServiceDown
from store import StoreError

Capability = Literal["heads", "vectors", "ids", "media"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

EMBEDDING_SECONDS = 1.5
"""Longest wait for the embedding service, so that a health check that waits 3 s sees the answer if it hangs."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of one capability: True if its requests can be answered, and the reason."""

    ready: bool
    reason: str


Readiness = Mapping[Capability, State]


async def readiness(registry: Registry, service: Service, embedding: Embedding) -> Readiness:
    """Return the state of every capability.

    heads: the folder of heads can be read, even if it holds none yet. vectors: heads answer for vectors in the request.
    ids: heads answer for stored ids, which takes a store. media: heads answer for files, which takes the embedding
    service.
    """
    heads, ids, media = await asyncio.gather(
        run_in_threadpool(_heads, registry), run_in_threadpool(_ids, service), _media(embedding)
    )
    vectors = State(heads.ready, "requests contain the vectors" if heads.ready else heads.reason)
    return {"heads": heads, "vectors": vectors, "ids": _both(heads, ids), "media": _both(heads, media)}


def summary(states: Readiness, needs: Collection[Capability]) -> tuple[bool, dict[str, Any]]:
    """Return True if the service can answer something and all that is needed, and the body of GET /health/ready."""
    missing = [each for each in CAPABILITIES if each in needs and not states[each].ready]
    if not (states["vectors"].ready or states["ids"].ready):
        missing.append("heads")
    reasons = "; ".join(f"{each}: {states[each].reason}" for each in dict.fromkeys(missing))
    details: dict[str, Any] = {each: asdict(state) for each, state in states.items()}
    return not missing, {"reason": reasons or None} | details


def _heads(registry: Registry) -> State:
    try:
        names = registry.names()
    except OSError as error:
        return State(False, f"the folder of heads {registry.root} cannot be read: {error.strerror}")
    return State(True, f"heads: {listing(names, most=20)}" if names else f"no head in {registry.root} yet; train one")


def _ids(service: Service) -> State:
    try:
        store = service.store()
        if not store.database.exists():
            return State(False, f"there is no store at {store.uri} yet")
    except (StoreError, OSError) as error:
        return State(False, str(error))
    return State(True, f"store: {store.uri}")


async def _media(embedding: Embedding) -> State:
    try:
        await embedding.ready(seconds=EMBEDDING_SECONDS)
    except (ServiceDown, RemoteProblem) as error:
        loading = isinstance(error, RemoteProblem) and error.code == "not_ready"
        return State(False, f"the embedding service is not ready: {error}" if loading else str(error))
    return State(True, "the embedding service is ready")


def _both(heads: State, other: State) -> State:
    return other if heads.ready else heads
