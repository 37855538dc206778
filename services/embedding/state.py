"""The state of the embedding service: its encoders with their queues, its backfills, and the store if there is one."""

import asyncio
import logging
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
from embedder.errors import AdapterMissing, CheckpointNotTrusted, LicenceNotAccepted, UnknownEncoder
from services.embedding.backfills import Backfills
from services.embedding.decode_memory import DecodeMemory
from services.embedding.worker import EncoderWorker, Vector
from services.jobs.backfill.local import open_features
from services.jobs.network import require_network
from services.settings import Settings
from services.web.app import Service
from services.web.errors import NotReady
from services.web.wire import Upload, VectoredBatch
from store import Store
from store.errors import StoreError, UnknownFeatures

log = logging.getLogger("headwater.embedding")

REMEDIES = {
    LicenceNotAccepted: "set HEADWATER_ACCEPT_NONCOMMERCIAL=true",
    AdapterMissing: "HEADWATER_ADAPTERS names the folder of adapters",
    CheckpointNotTrusted: "if you trust whoever made it, set HEADWATER_TRUST_CHECKPOINT=true",
}
"""What the operator can do about an encoder that cannot be loaded."""


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
        self.workers: dict[str, EncoderWorker] = {}
        self.backfills = Backfills(settings.max_backfill_queue, self.metrics)
        self.metrics.encoders(len(settings.encoders), lambda: len(self.workers))
        self._writable: set[str] = set()
        self._failure: str | None = None
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loading = asyncio.create_task(self._load_all())

    async def stop(self) -> None:
        if self._loading:
            self._loading.cancel()
        await asyncio.gather(*(worker.stop() for worker in self.workers.values()))
        await run_in_threadpool(self.backfills.stop)
        self.threads.shutdown(cancel_futures=True)

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        loaded = self._loading is not None and self._loading.done() and not self._failure
        return loaded, {"encoders": sorted(self.workers), "failure": self._failure}

    def worker(self, name: str) -> EncoderWorker:
        """Return the worker of an encoder, by name or fingerprint.

        Raises UnknownEncoder with the loaded names; NotReady for one that is still loading or could not be loaded;
        NoNetwork for imported vectors.
        """
        for worker in self.workers.values():
            if name in (worker.encoder.name, worker.encoder.spec.fingerprint):
                return worker
        with suppress(StoreError):
            require_network(self.store(), name)
        if len(self.workers) < len(self.settings.encoders) and (name in self.settings.encoders or _FINGERPRINT(name)):
            raise NotReady(name, self._failure)
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

    async def _load_all(self) -> None:
        try:
            for name in self.settings.encoders:
                await self._load(name)
        except Exception as error:
            self._failure = "; ".join(filter(None, (f"{type(error).__name__}: {error}", REMEDIES.get(type(error)))))
            log.exception("an encoder cannot be loaded")

    async def _load(self, name: str) -> None:
        encoder = await run_in_threadpool(self._load_and_probe, name)
        limits, queue = self.settings.limits, self.settings.model_dump(include={"max_batch", "max_queue"})
        short_side = await run_in_threadpool(probe.jpeg_side, encoder, limits)
        jpegs = await run_in_threadpool(jpeg_decoder, encoder, limits)
        worker = EncoderWorker(
            *(encoder, self.threads, self.metrics),
            **(queue | {"limits": limits, "short_side": short_side, "jpegs": jpegs, "memory": self.memory}),
        )
        await worker.start()
        self.workers[name] = worker
        log.info("encoder ready", extra={"encoder": name, "backend": encoder.backend})

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
