"""The state of the embedding service: its encoders with their queues, its backfills, and the store if there is one."""

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from embedder import cpus, probe, registry
from embedder.encoder import Encoder, jpeg_decoder, pace_of
from embedder.engines.rows.few import SIZES
from embedder.errors import UnknownEncoder
from services.embedding.backfills import Backfills
from services.embedding.decode_memory import DecodeMemory
from services.embedding.encoders import Encoders
from services.embedding.worker import EncoderWorker, Vector
from services.jobs.backfill.local import open_features
from services.jobs.network import require_network
from services.settings import Settings
from services.web.app import Service
from services.web.errors import NotReady
from services.web.wire import Upload, VectoredBatch
from store import Store
from store.errors import StoreError, UnknownFeatures

_FINGERPRINT = re.compile(r"[0-9a-f]{64}").fullmatch

LONGEST_TEXT = 8192
"""Number of characters of a text that are read. No encoder reads more than 256 tokens of a text."""


class EmbeddingService(Service):
    """The encoders, each with a queue. They load in the background; until then the service is live but not ready."""

    name = "headwater-embedding"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.threads = ThreadPoolExecutor(cpus.usable(), thread_name_prefix="decode")
        self.memory = DecodeMemory(settings.max_decode_bytes)
        self.backfills = Backfills(settings.max_backfill_queue, self.metrics)
        self.encoders = Encoders(settings, self._make, self.backfills.encoders, self.metrics.encoder_unloaded)
        self.metrics.encoders(self._wanted, lambda: len(self.workers))
        self._writable: set[str] = set()
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def workers(self) -> dict[str, EncoderWorker]:
        """The workers of the encoders that are ready, by name."""
        return self.encoders.workers()

    async def start(self) -> None:
        for name in self.settings.encoders:
            self.encoders.load(name)
        self._sweeping = asyncio.create_task(self.encoders.sweep_forever())

    async def stop(self) -> None:
        if self._sweeping:
            self._sweeping.cancel()
        await self.encoders.stop()
        await run_in_threadpool(self.backfills.stop)
        self.threads.shutdown(cancel_futures=True)

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        own = [held for held in self.encoders.all() if held.name in self.settings.encoders]
        failure = "; ".join(held.failure for held in own if held.failure) or None
        waits = any(held.state == "loading" and not held.fingerprint for held in own)
        is_ready = self._sweeping is not None and not waits and not failure
        return is_ready, {"encoders": sorted(self.workers), "failure": failure}

    def worker(self, name: str) -> EncoderWorker:
        """Return the worker of an encoder, by name or fingerprint.

        Raises UnknownEncoder with the loaded names; NotReady for one that is still loading or could not be loaded;
        NoNetwork for imported vectors.
        """
        if (worker := self.encoders.worker(name)) is not None:
            return worker
        with suppress(StoreError):
            require_network(self.store(), name)
        if _FINGERPRINT(name) and (unread := [held for held in self.encoders.all() if not held.fingerprint]):
            raise NotReady(name, unread[0].failure)
        raise UnknownEncoder(name, sorted(self.workers))

    async def embed(self, uploads: Sequence[Upload], *, encoder: str, tokens: bool = False) -> VectoredBatch:
        """Return one item for each upload, in order. Raises UnknownEncoder, QueueFull, and BadRequest."""
        worker = self.worker(encoder)
        items = await worker.embed_files(uploads, tokens=tokens)
        return VectoredBatch(worker.encoder.name, worker.encoder.spec.fingerprint, items)

    async def embed_texts(self, texts: Sequence[str], *, encoder: str) -> list[Vector]:
        """Return the vector of the beginning of each text. Raises UnknownEncoder, QueueFull, and BadRequest."""
        return await self.worker(encoder).embed_texts([text[:LONGEST_TEXT] for text in texts])

    def writable_store(self, encoder: Encoder) -> Store:
        """Return the store, after `encoder` has passed the probe of its table. Raises ProbeMismatch, StoreError."""
        store = self.store()
        if encoder.spec.fingerprint not in self._writable:
            open_features(store, encoder)
            self._writable.add(encoder.spec.fingerprint)
        return store

    async def _make(self, name: str) -> EncoderWorker:
        """Load an encoder on a thread, and start its worker."""
        encoder = await run_in_threadpool(self._load_and_probe, name)
        limits, queue = self.settings.limits, self.settings.model_dump(include={"max_batch", "max_queue"})
        short_side = await run_in_threadpool(probe.jpeg_side, encoder, limits)
        jpegs = await run_in_threadpool(jpeg_decoder, encoder, limits)
        worker = EncoderWorker(
            *(encoder, self.threads, self.metrics),
            **(queue | {"limits": limits, "short_side": short_side, "jpegs": jpegs, "memory": self.memory}),
        )
        await worker.start()
        return worker

    def _wanted(self) -> int:
        return sum(held.state != "unloaded" for held in self.encoders.all())

    def _load_and_probe(self, name: str) -> Encoder:
        """Return the encoder, after it has embedded the probe and its vectors agree with those of its table."""
        encoder = registry.load(name, **self.settings.loading)
        stored = self._stored_probe(encoder)
        probe.check(encoder, encoder.reference_probe() if stored is None else stored)
        self._warm_up(encoder)
        return encoder

    def _warm_up(self, encoder: Encoder) -> None:
        """Embed batches of images: engines compile, measure and record at the first ones, which takes seconds."""
        if "image" in encoder.spec.modalities:
            pixels, pace = encoder.prepare(probe.images()[0]), pace_of(encoder, "image")
            for rows in (*(SIZES if pace.lanes > 1 else ()), max(self.settings.max_batch, pace.rows)):
                encoder.embed(np.broadcast_to(pixels, (rows, *pixels.shape)).copy())

    def _stored_probe(self, encoder: Encoder) -> NDArray[np.float32] | None:
        """Return the probe's vectors in the store; None if there is no store, or no table of this encoder."""
        try:
            return self.store().features(encoder.spec.fingerprint).probe
        except (StoreError, UnknownFeatures):
            return None
