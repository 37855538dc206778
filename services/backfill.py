"""Backfill: give every stored asset that lacks one its vector. Resumable, because what is missing is asked anew."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from embedder import probe
from embedder.adapted import AdaptedEncoder
from embedder.encoder import Embedding, Encoder
from embedder.errors import BadMedia
from embedder.media import DEFAULT_LIMITS, Limits, decode
from embedder.spec import EncoderSpec, Modality
from services.derived import fill
from services.outcome import Outcome
from store import Features, Quarantined, Store, stage_of
from store.errors import UnknownFeatures

T = TypeVar("T")
R = TypeVar("R")

CHUNK_ROWS = 512
"""Rows a commit. A killed backfill loses at most this much work; every commit is a version of the table."""

AHEAD = 128
"""Assets decoded but not yet encoded, at most: enough to keep the engine fed, small enough to stay flat."""


@dataclass(slots=True)
class Progress(Outcome):
    """Counts of one backfill, as they stand. `done` are in the store."""

    total: int = 0
    done: int = 0

    @property
    def items_per_second(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class _Item:
    id: str
    prepared: NDArray[Any] | None
    failure: Quarantined | None = None


@dataclass(slots=True)
class _Chunk:
    """What one commit writes: ids with their embeddings, a part a batch, and what failed."""

    ids: list[str] = field(default_factory=list)
    embeddings: list[Embedding] = field(default_factory=list)
    failed: list[Quarantined] = field(default_factory=list)

    def vectors(self) -> NDArray[np.float32]:
        return np.concatenate([part.vectors for part in self.embeddings])

    def tokens(self) -> NDArray[np.float16] | None:
        """None where the modality has none."""
        parts = [part.tokens for part in self.embeddings if part.tokens is not None]
        return np.concatenate(parts) if parts else None


def open_features(store: Store, encoder: Encoder) -> Features:
    """The feature table of `encoder`, made when there is none.

    A new table keeps the fp32 reference vectors of the probe; an encoder that does not agree with them
    (other weights, activation, preprocessing, a bad precision) may not write. Raises ProbeMismatch.
    """
    features = ensure_features(store, encoder)
    probe.check(encoder, features.probe)
    return features


def ensure_features(store: Store, encoder: Encoder) -> Features:
    """The same without the check, for a process that embeds nothing itself."""
    try:
        return store.features(encoder.spec.fingerprint)
    except UnknownFeatures:
        return store.ensure_features(encoder.name, encoder.spec, encoder.reference_probe())


def backfill(
    store: Store,
    encoder: Encoder,
    *,
    tokens: bool = False,
    retry_quarantined: bool = False,
    batch: int = 32,
    threads: int = 2,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Embed all that is missing of every modality that the encoder takes; tokens, of images alone.

    An item that fails goes to quarantine and the rest goes on.

    What the parent of a derived encoder has is adapted, and not embedded again; it counts as done.

    Reading, decoding, encoding and writing overlap; memory stays flat in the number of assets. Ctrl-C
    and errors leave the store whole: what is written stays, what is not is missing at the next run.
    """
    features = open_features(store, encoder)
    token_table = store.ensure_tokens(encoder.name, encoder.spec, features.probe) if tokens else None
    job = Job(store, encoder, features, token_table, batch=batch, limits=limits)
    adapted = from_parent(store, encoder, features) if isinstance(encoder, AdaptedEncoder) else 0
    missing = missing_assets(store, encoder.spec, tokens=tokens, retry_quarantined=retry_quarantined)
    progress, start = Progress(total=sum(map(len, missing.values())) + adapted, done=adapted), time.perf_counter()
    on_progress(progress)
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        decoders = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="decode"))
        writer = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="write"))
        chunks = (chunk for modality, ids in missing.items() for chunk in job.chunks(decoders, modality, ids))
        for written, failed in _map_ahead(writer, job.write, chunks, 1):
            progress.done += written
            progress.failures.add(failed)
            progress.seconds = time.perf_counter() - start
            on_progress(progress)
    return progress


def one_blas_thread() -> AbstractContextManager[object]:
    """Decoding has threads of its own, and the last bits of NumPy's products depend on how many BLAS has."""
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def missing_assets(
    store: Store, spec: EncoderSpec, *, tokens: bool, retry_quarantined: bool
) -> dict[Modality, list[str]]:
    """What lacks a vector (or, of images, tokens), by modality: ids in stored order."""
    return {
        modality: store.missing(
            spec.fingerprint,
            tokens=tokens and modality == "image",
            retry_quarantined=retry_quarantined,
            modality=modality,
        )
        for modality in spec.modalities
    }


def from_parent(store: Store, encoder: AdaptedEncoder, features: Features) -> int:
    """Rows that were written from the parent's stored vectors."""
    try:
        parent = store.features(encoder.spec.parent or "")
    except UnknownFeatures:
        return 0
    return fill(parent, features, encoder.adapter, lambda *_: None)


class Job:
    """The three stages of one backfill; each is called from a thread of its own."""

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        features: Features,
        tokens: Features | None,
        *,
        batch: int,
        limits: Limits,
    ) -> None:
        self.store, self.encoder, self.features, self.tokens = store, encoder, features, tokens
        self.batch, self.limits = batch, limits
        self.stage = stage_of(encoder.spec.fingerprint)

    def chunks(self, decoders: ThreadPoolExecutor, modality: Modality, ids: Sequence[str]) -> Iterator[_Chunk]:
        """Embed `ids`, in batches that begin with the first of them, and hand them on in chunks worth a commit."""
        items = _map_ahead(decoders, partial(self.decode, modality), self.store.assets.contents(ids), AHEAD)
        return self.encode(modality, items)

    def whole(self, decoders: ThreadPoolExecutor, modality: Modality, ids: Sequence[str]) -> _Chunk:
        """The same in one chunk, however large."""
        chunk = _Chunk()
        for part in self.chunks(decoders, modality, ids):
            chunk.ids += part.ids
            chunk.embeddings += part.embeddings
            chunk.failed += part.failed
        return chunk

    def decode(self, modality: Modality, content: tuple[str, bytes | Exception]) -> _Item:
        asset, data = content
        if isinstance(data, Exception):
            return self._failed(asset, "unreadable", str(data))
        try:
            return _Item(asset, self.encoder.prepare(decode(data, modality, self.limits)))
        except BadMedia as error:
            return self._failed(asset, error.reason, str(error))

    def encode(self, modality: Modality, items: Iterator[_Item]) -> Iterator[_Chunk]:
        """Embed items as they come, a batch at a time, and hand them on in chunks worth a commit."""
        chunk = _Chunk()
        tokens = self.tokens is not None and modality == "image"
        while batch := list(islice(items, self.batch)):
            good = [item for item in batch if item.prepared is not None]
            chunk.failed += [item.failure for item in batch if item.failure]
            if good:
                chunk.ids += [item.id for item in good]
                inputs = np.stack([item.prepared for item in good if item.prepared is not None])
                chunk.embeddings.append(self.encoder.embed(inputs, modality=modality, tokens=tokens))
            if len(chunk.ids) + len(chunk.failed) >= CHUNK_ROWS:
                yield chunk
                chunk = _Chunk()
        if chunk.ids or chunk.failed:
            yield chunk

    def write(self, chunk: _Chunk) -> tuple[int, list[Quarantined]]:
        """Commit one chunk. Tokens go first: a vector in the store then says that the item is complete."""
        if chunk.ids:
            if (tokens := chunk.tokens()) is not None and self.tokens is not None:
                self.tokens.put(chunk.ids, tokens)
            self.features.put(chunk.ids, chunk.vectors())
        settle(self.store, self.stage, chunk.ids, chunk.failed)
        return len(chunk.ids), chunk.failed

    def _failed(self, asset: str, reason: str, message: str) -> _Item:
        return _Item(asset, None, Quarantined(key=asset, stage=self.stage, reason=reason, message=message))


def settle(store: Store, stage: str, ids: Sequence[str], failed: Sequence[Quarantined]) -> None:
    """After the rows of a chunk are committed: forget their earlier failures, record those of the others."""
    if ids:
        store.quarantine.clear(ids, stage)
    if failed:
        store.quarantine.put(failed)


def _map_ahead(pool: ThreadPoolExecutor, run: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map` on a pool, in order, that never has more than `ahead` results waiting (Executor.map has no bound)."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(run, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
