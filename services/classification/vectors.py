"""Where the vectors of a request come from: the request itself, the store, or the embedding service."""

import asyncio
import re
from collections.abc import Mapping, Sequence

import numpy as np
from starlette.concurrency import run_in_threadpool

from classifiers.published import PublishedHead
from embedder.errors import UnknownEncoder
from services.classification.state import ClassificationService
from services.items import Upload, Vectored
from services.schemas import Problem
from store import Store
from store.errors import UnknownId

ByEncoder = Mapping[str, list[Vectored]]
"""Fingerprint → an item for each item of the request, in the request's order."""


async def of_images(
    service: ClassificationService, uploads: Sequence[Upload], heads: Sequence[PublishedHead]
) -> ByEncoder:
    """One pass of the embedding service for every encoder that any of the heads needs.

    Raises ServiceDown, RemoteProblem; WrongFingerprint when that service's encoder is not the heads'.
    """
    names = {encoder.fingerprint: encoder.name for head in heads for encoder in head.manifest.encoders}
    good = [upload for upload in uploads if upload.error is None]
    calls = (service.embedding.embed(good, encoder=name) for name in names.values())
    batches = await asyncio.gather(*calls) if good else []
    found = {batch.fingerprint: _beside_failed(uploads, batch.items) for batch in batches}
    for head in heads:
        head.require(found if good else head.fingerprints)
    return found or {fingerprint: _beside_failed(uploads, []) for fingerprint in names}


async def of_ids(service: ClassificationService, ids: Sequence[str], heads: Sequence[PublishedHead]) -> ByEncoder:
    """Stored vectors. An id without one is that item's problem alone; UnknownId when none has one."""
    store = service.store()
    fingerprints = {fingerprint for head in heads for fingerprint in head.fingerprints}
    found = {fp: await run_in_threadpool(_stored, store, fp, ids) for fp in fingerprints}
    if all(item.vector is None for items in found.values() for item in items):
        raise UnknownId(ids)
    return found


async def of_request(
    service: ClassificationService, vectors: Sequence[Sequence[float]], encoder: str, heads: Sequence[PublishedHead]
) -> ByEncoder:
    """Vectors that the request brought, of the encoder it names (by name or fingerprint).

    Raises WrongFingerprint when a head reads another encoder; UnknownEncoder for a name that no head knows.
    """
    blocks = [block for head in heads for block in head.manifest.encoders]
    widths = {b.fingerprint: b.columns[1] - b.columns[0] for b in blocks if encoder in (b.name, b.fingerprint)}
    if not widths and not re.fullmatch("[0-9a-f]{64}", encoder):
        catalogue = await run_in_threadpool(service.catalogue)
        known = sorted({name for head in catalogue.heads for name in head.encoders})
        if encoder not in known:
            raise UnknownEncoder(encoder, known)
    for head in heads:
        head.require(widths or {encoder})
    return {fp: [_checked(vector, width) for vector in vectors] for fp, width in widths.items()}


def _beside_failed(uploads: Sequence[Upload], embedded: Sequence[Vectored]) -> list[Vectored]:
    """Embedded items at the places of the uploads that were sent on; the others keep the problem they came with."""
    sent = iter(embedded)
    return [Vectored(None, each.name, error=each.error) if each.error else next(sent) for each in uploads]


def _stored(store: Store, fingerprint: str, ids: Sequence[str]) -> list[Vectored]:
    found, X = store.features(fingerprint).get(ids)
    row = {id_: i for i, id_ in enumerate(found)}
    missing = Problem(code="unknown_id", message="no stored vector for this id; ingest and backfill it first")
    return [Vectored(id_, None, X[row[id_]]) if id_ in row else Vectored(id_, None, error=missing) for id_ in ids]


def _checked(values: Sequence[float], dim: int) -> Vectored:
    if len(values) != dim:
        message = f"a vector of {len(values)} numbers; this head takes {dim}"
        return Vectored(None, None, error=Problem(code="bad_vector", message=message))
    with np.errstate(over="ignore"):
        vector = np.array(values, dtype=np.float64).astype(np.float32)
    if not np.isfinite(vector).all():
        message = "NaN, infinity or a value beyond float32 in the vector"
        return Vectored(None, None, error=Problem(code="bad_vector", message=message))
    return Vectored(None, None, vector)
