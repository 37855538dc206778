"""Vectors in the request, and vectors from the store. `services.classification.media` embeds files."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from starlette.concurrency import run_in_threadpool

from classifiers.errors import BadVectors
from classifiers.heads.multilabel.decoder import NEEDS_TOKENS
from classifiers.published.asking import require
from classifiers.published.head import PublishedHead
from classifiers.published.inputs import Input
from embedder.errors import UnknownEncoder
from services.classification.state import ClassificationService
from services.web.quoting import shortened
from services.web.schemas import Problem
from services.web.wire import Vectored
from store import Store
from store.errors import AmbiguousFeatures, UnknownFeatures, UnknownId

ID = re.compile("[0-9a-f]{64}")
"""The form of an id of an asset, and of the fingerprint of an encoder: a SHA-256 in hexadecimal digits."""

NO_ID = "this is no id; an id has 64 hexadecimal digits in lower case: the SHA-256 of the file"

Columns = Mapping[Input, list[Vectored]]
"""For each input of the heads, all items of the request in its order."""


async def of_ids(service: ClassificationService, ids: Sequence[str], heads: Sequence[PublishedHead]) -> Columns:
    """Return stored vectors. An id without a vector is a problem of that item alone.

    Raises:
        UnknownId: none of the ids has a vector.
        UnknownFeatures: no vectors are stored of an encoder that a head needs; a fused head can answer without some.
    """
    store = service.store()
    good = [id_ for id_ in ids if ID.fullmatch(id_)]
    if ids and not good:
        raise UnknownId([shortened(id_) for id_ in ids])
    found, problems = {}, []
    for each in dict.fromkeys(each for head in heads for each in head.inputs):
        try:
            found[each] = await run_in_threadpool(_stored, store, each, ids, good)
        except UnknownFeatures as problem:
            problems.append(problem)
    require(heads, found, problems)
    if ids and all(item.vector is None for items in found.values() for item in items):
        raise UnknownId(ids)
    return found


async def of_request(
    service: ClassificationService, vectors: Sequence[Sequence[float]], encoder: str, heads: Sequence[PublishedHead]
) -> Columns:
    """Return the vectors in the request.

    Args:
        encoder: name or fingerprint of the encoder that made them.

    Raises:
        WrongFingerprint: a head reads another encoder.
        UnknownEncoder: no head reads an encoder of this name.
        AmbiguousFeatures: the heads read several encoders of this name.
        BadVectors: a head reads tokens.
    """
    for head in heads:
        if head.head.reads_tokens:
            raise BadVectors(f"head {head.name!r} takes images or stored ids, no vectors: {NEEDS_TOKENS}")
    blocks = [block for head in heads for block in head.manifest.encoders]
    named = dict.fromkeys(block.fingerprint for block in blocks if block.name == encoder)
    if len(named) > 1:
        raise AmbiguousFeatures(encoder, list(named))
    widths = {Input(b.fingerprint): b.columns[1] - b.columns[0] for b in blocks if encoder in (b.name, b.fingerprint)}
    if not widths and not ID.fullmatch(encoder):
        catalogue = await run_in_threadpool(service.catalogue)
        known = sorted({name for head in catalogue.heads for name in head.encoders})
        if encoder not in known:
            raise UnknownEncoder(encoder, known)
    require(heads, widths or {Input(encoder)})
    return await run_in_threadpool(
        lambda: {each: [_checked(vector, width) for vector in vectors] for each, width in widths.items()}
    )


def _stored(store: Store, each: Input, ids: Sequence[str], good: Sequence[str]) -> list[Vectored]:
    """Return an item for each of `ids`. Only the `good` ones, which have the form of an id, are looked up."""
    table = store.tokens(each.fingerprint) if each.tokens else store.features(each.fingerprint)
    found, X = table.get(good)
    X = X.reshape(len(found), math.prod(table.shape))
    row = {id_: i for i, id_ in enumerate(found)}
    return [
        Vectored(id_, None, X[row[id_]]) if id_ in row else Vectored(shortened(id_), None, error=_missing(id_))
        for id_ in ids
    ]


def _missing(id_: str) -> Problem:
    known = ID.fullmatch(id_)
    message = "no stored vector for this id; ingest and backfill it first" if known else NO_ID
    return Problem(code="unknown_id", message=message)


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
