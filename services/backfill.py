"""Backfill: give every stored asset that lacks one its vector. Resumable, because what is missing is asked anew."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder import probe
from embedder.adapted import AdaptedEncoder
from embedder.encoder import Embedding, Encoder
from embedder.errors import BadMedia
from embedder.media import DEFAULT_LIMITS, Limits, decode
from embedder.spec import Modality
from services.ahead import read_ahead
from services.derived import fill
from services.outcome import Outcome
from services.profile import Profile
from services.room import Size, require_room
from store import Features, Quarantined, Store, stage_of
from store.errors import UnknownFeatures

T = TypeVar("T")
R = TypeVar("R")

CHUNK_ROWS = 512
"""Rows a commit. A killed backfill loses at most this much work; every commit is a version of the table."""

AHEAD = 128
"""Assets decoded but not yet encoded, at most: enough to keep the engine fed, small enough to stay flat."""

READ_AHEAD = 64
"""Assets read in one step; one such step waits for the decoders while the next is read."""


@dataclass(slots=True)
class Progress(Outcome):
    """Counts of one backfill, as they stand. `done` are in the store; `tokens` is what it is going to take of them."""

    total: int = 0
    done: int = 0
    tokens: Size | None = None
    profile: Profile = field(default_factory=Profile)

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


def open_features(store: Store, encoder: Encoder) -> Features:
    """The feature table of `encoder`, made when there is none.

    A new table keeps the fp32 reference vectors of the probe; an encoder that does not agree with them
    (other weights, activation, preprocessing, a bad precision) may not write. Raises ProbeMismatch.
    """
    try:
        features = store.features(encoder.spec.fingerprint)
    except UnknownFeatures:
        features = store.ensure_features(encoder.name, encoder.spec, encoder.reference_probe())
    probe.check(encoder, features.probe)
    return features


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
    and errors leave the store whole: what is written stays, what is not is missing at the next run. Raises NoRoom
    before anything is embedded when the disk is too small for the result.
    """
    features = open_features(store, encoder)
    token_table = store.ensure_tokens(encoder.name, encoder.spec, features.probe) if tokens else None
    job = _Job(store, encoder, features, token_table, batch=batch, limits=limits)
    adapted = _from_parent(store, encoder, features) if isinstance(encoder, AdaptedEncoder) else 0
    missing = {
        modality: store.missing(
            encoder.spec.fingerprint,
            tokens=tokens and modality == "image",
            retry_quarantined=retry_quarantined,
            modality=modality,
        )
        for modality in encoder.spec.modalities
    }
    total = sum(map(len, missing.values())) + adapted
    progress, start = Progress(total=total, done=adapted, profile=job.profile), time.perf_counter()
    job.profile.decoders = threads
    if token_table is not None:
        progress.tokens = Size.of(token_table, len(missing.get("image", ())))
    require_room(store, [size for size in (Size.of(features, total - adapted), progress.tokens) if size])
    on_progress(progress)
    with ExitStack() as stack:
        decoders = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="decode"))
        writer = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="write"))
        chunks = (
            chunk
            for modality, ids in missing.items()
            for chunk in job.encode(modality, job.decoded(decoders, modality, ids))
        )
        for written, failed in _map_ahead(writer, job.write, chunks, 1):
            progress.done += written
            progress.failures.add(failed)
            progress.seconds = time.perf_counter() - start
            on_progress(progress)
    return progress


def _from_parent(store: Store, encoder: AdaptedEncoder, features: Features) -> int:
    """Rows that were written from the parent's stored vectors."""
    try:
        parent = store.features(encoder.spec.parent or "")
    except UnknownFeatures:
        return 0
    return fill(parent, features, encoder.adapter, lambda *_: None)


class _Job:
    """The stages of one backfill; each is called from threads of its own."""

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
        self.profile = Profile()

    def decoded(self, pool: ThreadPoolExecutor, modality: Modality, ids: Sequence[str]) -> Iterator[_Item]:
        """The assets, read and decoded ahead of who takes them."""
        contents = read_ahead(self.store.assets.contents(ids), READ_AHEAD, partial(self.profile.add, "read"))
        return _map_ahead(pool, partial(self.decode, modality), contents, AHEAD)

    def decode(self, modality: Modality, content: tuple[str, bytes | Exception]) -> _Item:
        asset, data = content
        if isinstance(data, Exception):
            return self._failed(asset, "unreadable", str(data))
        try:
            with self.profile.stage("decode"):
                media = decode(data, modality, self.limits)
            with self.profile.stage("prepare"):
                return _Item(asset, self.encoder.prepare(media))
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
                with self.profile.stage("encode", len(good)):
                    chunk.embeddings.append(self.encoder.embed(inputs, modality=modality, tokens=tokens))
            if len(chunk.ids) + len(chunk.failed) >= CHUNK_ROWS:
                yield chunk
                chunk = _Chunk()
        if chunk.ids or chunk.failed:
            yield chunk

    def write(self, chunk: _Chunk) -> tuple[int, list[Quarantined]]:
        """Commit one chunk. Tokens go first: a vector in the store then says that the item is complete."""
        with self.profile.stage("write", len(chunk.ids)):
            return self._commit(chunk)

    def _commit(self, chunk: _Chunk) -> tuple[int, list[Quarantined]]:
        if chunk.ids:
            tokens = [part.tokens for part in chunk.embeddings if part.tokens is not None]
            if self.tokens is not None and tokens:
                self.tokens.put(chunk.ids, np.concatenate(tokens))
            self.features.put(chunk.ids, np.concatenate([part.vectors for part in chunk.embeddings]))
            self.store.quarantine.clear(chunk.ids, self.stage)
        if chunk.failed:
            self.store.quarantine.put(chunk.failed)
        return len(chunk.ids), chunk.failed

    def _failed(self, asset: str, reason: str, message: str) -> _Item:
        return _Item(asset, None, Quarantined(key=asset, stage=self.stage, reason=reason, message=message))


def _map_ahead(pool: ThreadPoolExecutor, run: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map` on a pool, in order, that never has more than `ahead` results waiting (Executor.map has no bound)."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(run, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
