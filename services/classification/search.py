"""Search: the stored assets with the largest cosine to a stored asset, a text or an image."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

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
from store.errors import UnknownFeatures, UnknownId
from store.rows import Column

R = TypeVar("R")
Query = Literal["id", "text", "image"]

WEAK_TEXTS = (
    "the text side of {name} is small: of 1,150 captions, 20 % find their photo among the first 10. "
    "An encoder such as openclip/ViT-B-32/openai, whose text network was trained with images, finds more"
)
"""What an answer says about texts of the lite encoders. `benchmarks/text_search.py` prints the figure, for lite0."""


@dataclass(frozen=True, slots=True)
class Within:
    """The stored assets to choose from: all without a task, else those that the task labels.

    Attributes:
        label, split: only those with this label, and in this split; None for any.
    """

    task: str | None = None
    label: str | None = None
    split: str | None = None

    def require_task(self) -> None:
        """Raise BadRequest for a label or a split without a task."""
        if self.task is None and (self.label is not None or self.split is not None):
            raise BadRequest("label and split belong to a task: give task too, or leave them out")

    def ids(self, store: Store) -> Column | None:
        """Return the ids of these assets, None for all. Raises UnknownTask, BadSplit."""
        return None if self.task is None else store.labels.ids(self.task, label=self.label, split=self.split)


async def by_id_or_text(
    service: ClassificationService, encoder: str | None, id_: str | None, text: str | None, k: int, within: Within
) -> SearchResponse:
    """Return the `k` stored assets nearest to a stored one, or to a text.

    Args:
        encoder: name or fingerprint, or the start of a fingerprint, of an encoder with stored vectors; None for the
            best one, see `chosen`.

    Raises BadRequest unless exactly one of `id_` and `text` is given, and for a URL as text; UnknownId;
    UnknownFeatures; UnknownTask, BadSplit; for texts also EncoderNotLoaded, ServiceDown and RemoteProblem.
    """
    if (id_ is None) == (text is None):
        raise BadRequest("give exactly one of id and text")
    within.require_task()
    if text is not None:
        require_no_url([text])
    store = service.store()
    features = await run_in_threadpool(chosen, store, encoder, "text" if text is not None else "id")
    if text is not None:
        _require_network(features)
        [vector] = await _by(features, service.embedding.embed_texts([text], encoder=features.fingerprint))
        found = await run_in_threadpool(_nearest, store, features, vector, k, within)
        return found.model_copy(update={"note": weak_texts(features.name)})
    if not ID.fullmatch(id_ or ""):
        raise UnknownId([shortened(id_ or "")])
    return await run_in_threadpool(_nearest_to_id, store, features, id_ or "", k, within)


async def by_image(
    service: ClassificationService, encoder: str | None, uploads: Sequence[Upload], k: int, within: Within
) -> SearchResponse:
    """Return the `k` stored assets nearest to the one image in `uploads`.

    Raises BadRequest if there are more; RemoteProblem if the file cannot be embedded; EncoderNotLoaded, ServiceDown,
    UnknownFeatures, UnknownTask, BadSplit.
    """
    if len(uploads) != 1:
        raise BadRequest(f"{len(uploads)} files in one request; a search takes one")
    within.require_task()
    store = service.store()
    features = await run_in_threadpool(chosen, store, encoder, "image")
    _require_network(features)
    [item] = (await _by(features, service.embedding.embed(uploads, encoder=features.fingerprint))).items
    if item.vector is None:
        problem = item.error
        raise RemoteProblem(422, problem.code if problem else "bad_image", problem.message if problem else "")
    return await run_in_threadpool(_nearest, store, features, item.vector, k, within)


def chosen(store: Store, encoder: str | None, query: Query) -> Features:
    """Return the stored vectors of `encoder`, or of the best stored encoder for this query.

    Texts: of the encoders that take texts, those whose text network was trained together with the image network come
    before lite0, lite1 and lite2. Otherwise the encoder with the most vectors is best; the first by name of equals.

    Raises UnknownFeatures, also if no stored encoder takes such a query.
    """
    if encoder is not None:
        return store.features(encoder)
    fitting = [each for each in store.encoders() if query == "id" or each.spec.has_network]
    if query == "text":
        fitting = [each for each in fitting if each.spec.text is not None]
    if not fitting:
        raise UnknownFeatures(f"for {query}", [each.name for each in store.encoders()])
    best = min(fitting, key=lambda each: (query == "text" and _is_lite(each.name), -each.rows, each.name))
    return store.features(best.fingerprint)


def weak_texts(name: str) -> str | None:
    """Return the sentence that says how little a text finds with this encoder; None if nothing is known against it."""
    return WEAK_TEXTS.format(name=name) if _is_lite(name) else None


def _is_lite(name: str) -> bool:
    return name.startswith("lite")


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


def _nearest_to_id(store: Store, features: Features, id_: str, k: int, within: Within) -> SearchResponse:
    found, X = features.get([id_])
    if not found:
        raise UnknownId([id_])
    others = [hit for hit in features.search(X[0], k + 1, ids=within.ids(store)) if hit[0] != id_]
    return _answer(store, features, others[:k])


def _nearest(store: Store, features: Features, vector: NDArray[np.float32], k: int, within: Within) -> SearchResponse:
    return _answer(store, features, features.search(vector, k, ids=within.ids(store)))


def _answer(store: Store, features: Features, found: list[tuple[str, float]]) -> SearchResponse:
    uris = {asset.id: asset.uri for asset in store.assets.get([id_ for id_, _ in found])}
    hits = [Hit(id=id_, score=score, uri=uris.get(id_)) for id_, score in found]
    return SearchResponse(encoder=features.name, hits=hits)
