"""The five stages of a backfill: read, decode, prepare, encode, write. The caller chooses the threads."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from embedder import probe
from embedder.encoder import JPEG_BATCHES, Embedding, Encoder, JpegDecoder, Pace, jpeg_decoder, pace_of
from embedder.errors import BadMedia
from embedder.media import Limits, decode
from embedder.media.guard import confined
from embedder.media.room import Room
from embedder.spec import Modality
from services.jobs.backfill.assets import Content, PreparedAsset, size_of
from services.jobs.backfill.jpegs import decoded_in_batches
from services.jobs.backfill.prefetch import Bound, map_ahead, read_ahead
from services.jobs.backfill.timing import Profile
from store import Features, Quarantined, Store, stage_of

CHUNK_ROWS = 512
"""Rows of a commit. A killed backfill loses at most these; more commits would make more versions of the table."""

AHEAD, AHEAD_BATCHES, AHEAD_BYTES = 128, 2, 2 << 20
"""Most assets that are decoded but not yet encoded: 128, or two batches if they are more. On average each may take
2 MiB. That is enough to keep the engine busy in little memory."""

READ_AHEAD, READ_AHEAD_BYTES = 64, 1 << 20
"""Most assets read in one step: 64, or one batch if it is more. On average each may take 1 MiB. One step waits for the
decoders while the next is read."""


@dataclass(slots=True)
class Chunk:
    """The rows of one commit.

    Attributes:
        ids: assets that were embedded.
        embeddings: their embeddings, one entry a batch.
        failed: assets for quarantine.
    """

    ids: list[str] = field(default_factory=list)
    embeddings: list[Embedding] = field(default_factory=list)
    failed: list[Quarantined] = field(default_factory=list)

    def add(self, part: "Chunk") -> None:
        self.ids += part.ids
        self.embeddings += part.embeddings
        self.failed += part.failed

    def vectors(self) -> NDArray[np.float32]:
        """Return the vectors of `ids`, shape (n, d)."""
        return np.concatenate([part.vectors for part in self.embeddings])

    def tokens(self) -> NDArray[np.float16] | None:
        """Return the tokens of `ids`, shape (n, P, F), or None if the modality has no tokens."""
        parts = [part.tokens for part in self.embeddings if part.tokens is not None]
        return np.concatenate(parts) if parts else None


class Job:
    """The stages of one backfill. Each stage may run on threads of its own.

    Args:
        batch: assets in one call of the encoder; 0 for as many as keep it busy.
    """

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
        self.profile, self.room = Profile(), Room(limits.max_decode_bytes)

    @cached_property
    def short_side(self) -> int | None:
        """Pixels of the short side to which large JPEGs may be decoded; None: decode them whole.

        Computed when first needed, because it takes a pass of the encoder that a job without images can do without.
        """
        return probe.jpeg_side(self.encoder, self.limits)

    @cached_property
    def jpegs(self) -> JpegDecoder | None:
        """Decoder of many JPEGs at once; None to decode each on a thread."""
        return jpeg_decoder(self.encoder, self.limits)

    def batch_of(self, modality: Modality) -> int:
        """Return the number of assets in one call of the encoder. Tokens of many would fill the memory."""
        few = self.tokens is not None and modality == "image"
        return self.batch or (Pace() if few else pace_of(self.encoder, modality)).rows

    def chunks(self, decoders: ThreadPoolExecutor, modality: Modality, ids: Sequence[str]) -> Iterator[Chunk]:
        """Embed `ids` in batches, the first starting with the first id, and yield chunks large enough for a commit."""
        return self.encode(modality, self.prepared(decoders, modality, ids))

    def prepared(self, decoders: ThreadPoolExecutor, modality: Modality, ids: Sequence[str]) -> Iterator[PreparedAsset]:
        """Yield the assets `ids` in order, read, decoded and prepared ahead of the caller."""
        side = self.short_side if ids and modality == "image" else None
        batch = self.batch_of(modality)
        step, ahead = _bound(max(READ_AHEAD, batch), READ_AHEAD_BYTES), max(AHEAD, AHEAD_BATCHES * batch)
        contents = read_ahead(self.store.assets.contents(ids), step, partial(self.profile.add, "read"))
        if ids and modality == "image" and (jpegs := self.jpegs):
            self.profile.decoders = JPEG_BATCHES
            one = partial(self.decode, modality, side)
            return decoded_in_batches(jpegs, decoders, one, contents, self.profile, ahead)
        bound = _bound(ahead, AHEAD_BYTES)
        return map_ahead(decoders, partial(self.decode, modality, side), contents, bound)

    def one_chunk(self, decoders: ThreadPoolExecutor, modality: Modality, ids: Sequence[str]) -> Chunk:
        """Embed `ids` and return all of them in one chunk."""
        chunk = Chunk()
        for part in self.chunks(decoders, modality, ids):
            chunk.add(part)
        return chunk

    def decode(self, modality: Modality, short_side: int | None, content: Content) -> PreparedAsset:
        """Decode one asset and prepare it for the encoder. `content` is its id with its bytes or a reading error."""
        asset, data = content
        if isinstance(data, Exception):
            return self._failed(asset, "unreadable", str(data))
        try:
            with self.room.share() as reserve:
                with self.profile.stage("decode"):
                    media = decode(data, modality, self.limits, short_side, reserve)
                with self.profile.stage("prepare"), confined(who="the encoder"):
                    return PreparedAsset(asset, self.encoder.prepare(media))
        except BadMedia as error:
            return self._failed(asset, error.reason, str(error))

    def encode(self, modality: Modality, assets: Iterator[PreparedAsset]) -> Iterator[Chunk]:
        """Embed assets in batches, as they come, and yield chunks large enough for a commit.

        As many batches are under way as the encoder has lanes.
        """
        chunk, lanes = Chunk(), pace_of(self.encoder, modality).lanes
        self.profile.encoders = max(self.profile.encoders, lanes)
        batches = iter(lambda: list(islice(assets, self.batch_of(modality))), [])
        pool = ThreadPoolExecutor(lanes, thread_name_prefix="encode")
        try:
            for part in map_ahead(pool, partial(self.embed, modality), batches, Bound(lanes - 1)):
                chunk.add(part)
                if len(chunk.ids) + len(chunk.failed) >= CHUNK_ROWS:
                    yield chunk
                    chunk = Chunk()
        finally:
            pool.shutdown(cancel_futures=True)
        if chunk.ids or chunk.failed:
            yield chunk

    def embed(self, modality: Modality, batch: Sequence[PreparedAsset]) -> Chunk:
        """Embed one batch."""
        good = [asset for asset in batch if asset.prepared is not None]
        chunk = Chunk([asset.id for asset in good], failed=[asset.failure for asset in batch if asset.failure])
        if good:
            inputs = np.stack([asset.prepared for asset in good if asset.prepared is not None])
            tokens = self.tokens is not None and modality == "image"
            with self.profile.stage("encode", len(good)):
                chunk.embeddings.append(self.encoder.embed(inputs, modality=modality, tokens=tokens))
        return chunk

    def write(self, chunk: Chunk) -> tuple[int, list[Quarantined]]:
        """Commit one chunk; return the number of stored rows and the failed items.

        Tokens are written before vectors, so that an asset with a vector is complete.
        """
        with self.profile.stage("write", len(chunk.ids)):
            return self._commit(chunk)

    def _commit(self, chunk: Chunk) -> tuple[int, list[Quarantined]]:
        if chunk.ids:
            if (tokens := chunk.tokens()) is not None and self.tokens is not None:
                self.tokens.put(chunk.ids, tokens)
            self.features.put(chunk.ids, chunk.vectors())
        settle(self.store, self.stage, chunk.ids, chunk.failed)
        return len(chunk.ids), chunk.failed

    def _failed(self, asset: str, reason: str, message: str) -> PreparedAsset:
        return PreparedAsset(asset, None, Quarantined(key=asset, stage=self.stage, reason=reason, message=message))


def _bound(items: int, bytes_each: int) -> Bound:
    return Bound(items, items * bytes_each, size_of)


def settle(store: Store, stage: str, ids: Sequence[str], failed: Sequence[Quarantined]) -> None:
    """Update the quarantine after a commit: clear the entries of `ids`, record those of `failed`."""
    if ids:
        store.quarantine.clear(ids, stage)
    if failed:
        store.quarantine.put(failed)
