"""Search: the stored assets with the largest cosine to a stored asset, a text or an image."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from embedder.errors import NoNetwork
from services.classification.state import ClassificationService
from services.classification.vectors import ID
from services.web.errors import BadRequest, EncoderNotLoaded, RemoteProblem
from services.web.quoting import shortened
from services.web.schemas import Hit, SearchResponse
from services.web.wire import Upload, require_no_url
from store import Features, Store
from store.errors import UnknownId

R = TypeVar("R")


async def by_id_or_text(
    service: ClassificationService, encoder: str, id_: str | None, text: str | None, k: int
) -> SearchResponse:
    """Return the `k` stored assets nearest to a stored one, or to a text.

    Args:
        encoder: name or fingerprint, or the start of a fingerprint, of an encoder with stored vectors.

    Raises BadRequest unless exactly one of `id_` and `text` is given, and for a URL as text; UnknownId;
    UnknownFeatures; for texts also EncoderNotLoaded, ServiceDown and RemoteProblem.
    """
    if (id_ is None) == (text is None):
        raise BadRequest("give exactly one of id and text")
    if text is not None:
        require_no_url([text])
    store = service.store()
    features = await run_in_threadpool(store.features, encoder)
    if text is not None:
        _require_network(features)
        [vector] = await _by(features, service.embedding.embed_texts([text], encoder=features.fingerprint))
        return await run_in_threadpool(_nearest, store, features, vector, k)
    if not ID.fullmatch(id_ or ""):
        raise UnknownId([shortened(id_ or "")])
    return await run_in_threadpool(_nearest_to_id, store, features, id_ or "", k)


async def by_image(service: ClassificationService, encoder: str, uploads: Sequence[Upload], k: int) -> SearchResponse:
    """Return the `k` stored assets nearest to the one image in `uploads`.

    Raises BadRequest if there are more; RemoteProblem if the file cannot be embedded; EncoderNotLoaded, ServiceDown,
    UnknownFeatures.
    """
    if len(uploads) != 1:
        raise BadRequest(f"{len(uploads)} files in one request; a search takes one")
    store = service.store()
    features = await run_in_threadpool(store.features, encoder)
    _require_network(features)
    [item] = (await _by(features, service.embedding.embed(uploads, encoder=features.fingerprint))).items
    if item.vector is None:
        problem = item.error
        raise RemoteProblem(422, problem.code if problem else "bad_image", problem.message if problem else "")
    return await run_in_threadpool(_nearest, store, features, item.vector, k)


def _require_network(features: Features) -> None:
    """Raise NoNetwork for imported vectors: neither a text nor an image can be embedded beside them."""
    if not features.spec.has_network:
        raise NoNetwork(features.name)


async def _by(features: Features, answer: Awaitable[R]) -> R:
    """Return the answer of the embedding service, which was asked for the encoder of the stored vectors.

    The encoder is asked for by its fingerprint: another one of the same name has vectors that cannot be compared.
    """
    try:
        return await answer
    except RemoteProblem as problem:
        if problem.code != "unknown_encoder":
            raise
        raise EncoderNotLoaded(features.name, features.fingerprint) from problem


def _nearest_to_id(store: Store, features: Features, id_: str, k: int) -> SearchResponse:
    found, X = features.get([id_])
    if not found:
        raise UnknownId([id_])
    others = [hit for hit in features.search(X[0], k + 1) if hit[0] != id_]
    return _answer(store, features, others[:k])


def _nearest(store: Store, features: Features, vector: NDArray[np.float32], k: int) -> SearchResponse:
    return _answer(store, features, features.search(vector, k))


def _answer(store: Store, features: Features, found: list[tuple[str, float]]) -> SearchResponse:
    uris = {asset.id: asset.uri for asset in store.assets.get([id_ for id_, _ in found])}
    hits = [Hit(id=id_, score=score, uri=uris.get(id_)) for id_, score in found]
    return SearchResponse(encoder=features.name, hits=hits)
