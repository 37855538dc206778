"""Search: the stored assets with the largest cosine to a stored asset, a text or an image."""

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from services.classification.state import ClassificationService
from services.web.errors import BadRequest, RemoteProblem
from services.web.schemas import Hit, SearchResponse
from services.web.wire import Upload
from store import Features, Store
from store.errors import UnknownId


async def by_id_or_text(
    service: ClassificationService, encoder: str, id_: str | None, text: str | None, k: int
) -> SearchResponse:
    """Return the `k` stored assets nearest to a stored one, or to a text.

    Raises BadRequest unless exactly one of `id_` and `text` is given; UnknownId; UnknownFeatures; ServiceDown and
    RemoteProblem for texts.
    """
    if (id_ is None) == (text is None):
        raise BadRequest("give exactly one of id and text")
    store = service.store()
    if text is not None:
        [vector] = await service.embedding.embed_texts([text], encoder=encoder)
        return await run_in_threadpool(_nearest, store, encoder, vector, k)
    return await run_in_threadpool(_nearest_to_id, store, encoder, id_ or "", k)


async def by_image(service: ClassificationService, encoder: str, upload: Upload, k: int) -> SearchResponse:
    """Return the `k` stored assets nearest to an image.

    Raises RemoteProblem if the file cannot be embedded, ServiceDown, UnknownFeatures.
    """
    store = service.store()
    [item] = (await service.embedding.embed([upload], encoder=encoder)).items
    if item.vector is None:
        problem = item.error
        raise RemoteProblem(422, problem.code if problem else "bad_image", problem.message if problem else "")
    return await run_in_threadpool(_nearest, store, encoder, item.vector, k)


def _nearest_to_id(store: Store, encoder: str, id_: str, k: int) -> SearchResponse:
    features = store.features(encoder)
    found, X = features.get([id_])
    if not found:
        raise UnknownId([id_])
    others = [hit for hit in features.search(X[0], k + 1) if hit[0] != id_]
    return _answer(store, features, others[:k])


def _nearest(store: Store, encoder: str, vector: NDArray[np.float32], k: int) -> SearchResponse:
    features = store.features(encoder)
    return _answer(store, features, features.search(vector, k))


def _answer(store: Store, features: Features, found: list[tuple[str, float]]) -> SearchResponse:
    uris = {asset.id: asset.uri for asset in store.assets.get([id_ for id_, _ in found])}
    hits = [Hit(id=id_, score=score, uri=uris.get(id_)) for id_, score in found]
    return SearchResponse(encoder=features.name, hits=hits)
