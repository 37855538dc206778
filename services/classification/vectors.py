"""Where the vectors of a request come from: the request itself, or the store. Those of images: `images`."""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from classifiers.errors import BadVectors
from classifiers.heads.multilabel.decoder import NEEDS_TOKENS
from classifiers.published.head import TOKENS, PublishedHead
from embedder.errors import UnknownEncoder
from services.classification.state import ClassificationService
from services.web.schemas import Problem
from services.web.wire import Vectored
from store import Store
from store.errors import UnknownFeatures, UnknownId

Vector = NDArray[np.float32]

ByEncoder = Mapping[str, list[Vectored]]
"""What heads read (`PublishedHead.inputs`) → an item for each item of the request, in the request's order."""


def answerable(head: PublishedHead, by_encoder: ByEncoder) -> Iterator[tuple[PublishedHead, dict[int, Vector]]]:
    """The items that a head can answer, by which of their vectors are there: the head for these, and item → vector.

    An item with a vector neither there nor in error was not asked for it: a cascade stops at its stages before that.
    """
    own = {read: by_encoder[read] for read in head.inputs if read in by_encoder}
    groups: dict[tuple[tuple[str, ...], bool], list[int]] = defaultdict(list)
    for i, parts in enumerate(zip(*own.values(), strict=True)):
        there = tuple(read for read, part in zip(own, parts, strict=True) if part.vector is not None)
        unasked = len(there) < len(own) and not any(part.error for part in parts)
        if head.can_answer(there):
            groups[there, unasked].append(i)
    for (there, unasked), which in groups.items():
        asked = head.stopped_before(there) if unasked else head.from_some(there)
        columns = [by_encoder[read] for read in asked.inputs]
        yield asked, {i: np.concatenate([column[i].vector for column in columns]) for i in which}


def require(heads: Sequence[PublishedHead], found: Collection[str], problems: Sequence[Exception]) -> None:
    """Raises the first of the problems, or WrongFingerprint, when a head can't answer from what was found."""
    for head in heads:
        if problems and not head.can_answer(found):
            raise problems[0]
        head.require(found)


async def of_ids(service: ClassificationService, ids: Sequence[str], heads: Sequence[PublishedHead]) -> ByEncoder:
    """Stored vectors. An id without one is that item's problem alone; UnknownId when none has one.

    Raises UnknownFeatures when nothing is stored of an encoder that a head needs; a fused head does without some.
    """
    store = service.store()
    found, problems = {}, []
    for read in {read for head in heads for read in head.inputs}:
        try:
            found[read] = await run_in_threadpool(_stored, store, read, ids)
        except UnknownFeatures as problem:
            problems.append(problem)
    require(heads, found, problems)
    if all(item.vector is None for items in found.values() for item in items):
        raise UnknownId(ids)
    return found


async def of_request(
    service: ClassificationService, vectors: Sequence[Sequence[float]], encoder: str, heads: Sequence[PublishedHead]
) -> ByEncoder:
    """Vectors that the request brought, of the encoder it names (by name or fingerprint).

    Raises WrongFingerprint when a head reads another encoder; UnknownEncoder for a name that no head knows; BadVectors
    for a head that reads tokens.
    """
    for head in heads:
        if head.reads_tokens:
            raise BadVectors(f"head {head.name!r} takes images or stored ids, no vectors: {NEEDS_TOKENS}")
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


def _stored(store: Store, read: str, ids: Sequence[str]) -> list[Vectored]:
    fingerprint = read.removesuffix(TOKENS)
    table = store.features(fingerprint) if read == fingerprint else store.tokens(fingerprint)
    found, X = table.get(ids)
    X = X.reshape(len(found), math.prod(table.shape))
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
