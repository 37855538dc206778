"""What the embedding service holds: its encoders, each with a queue, the store if there is one, backfills."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from embedder import probe, registry
from embedder.encoder import Encoder
from embedder.errors import UnknownEncoder
from services.embedding.jobs import BackfillJobs
from services.embedding.worker import EncoderWorker
from services.jobs.backfill.local import open_features
from services.settings import Settings
from services.web.app import Service
from store import Store
from store.errors import StoreError, UnknownFeatures

log = logging.getLogger("headwater.embedding")


class EmbeddingService(Service):
    """Encoders load in the background: until they have, the service is live but not ready, and says so."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
        self.workers: dict[str, EncoderWorker] = {}
        self.jobs = BackfillJobs()
        self._writable: set[str] = set()
        self._failure: str | None = None
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loading = asyncio.create_task(self._load_all())

    async def stop(self) -> None:
        if self._loading:
            self._loading.cancel()
        await asyncio.gather(*(worker.stop() for worker in self.workers.values()))
        self.jobs.stop()
        self.threads.shutdown(cancel_futures=True)

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        loaded = self._loading is not None and self._loading.done() and not self._failure
        return loaded, {"encoders": sorted(self.workers), "failure": self._failure}

    def worker(self, name: str) -> EncoderWorker:
        """By name or fingerprint. Raises UnknownEncoder with the names that are loaded."""
        for worker in self.workers.values():
            if name in (worker.encoder.name, worker.encoder.spec.fingerprint):
                return worker
        raise UnknownEncoder(name, sorted(self.workers))

    def writable_store(self, encoder: Encoder) -> Store:
        """The store, after `encoder` has passed the probe of its table. Raises ProbeMismatch."""
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
            self._failure = f"{type(error).__name__}: {error}"
            log.exception("an encoder can't be loaded")

    async def _load(self, name: str) -> None:
        encoder = await run_in_threadpool(self._load_and_probe, name)
        limits, queue = self.settings.limits, self.settings.model_dump(include={"max_batch", "max_queue"})
        short_side = await run_in_threadpool(probe.jpeg_side, encoder, limits)
        worker = EncoderWorker(encoder, self.threads, self.metrics, limits=limits, short_side=short_side, **queue)
        await worker.start()
        self.workers[name] = worker
        log.info("encoder ready", extra={"encoder": name, "backend": encoder.backend})

    def _load_and_probe(self, name: str) -> Encoder:
        """Embeds the probe: a first real inference, and the proof that the vectors are those of the table."""
        encoder = registry.load(name, **self.settings.loading)
        stored = self._stored_probe(encoder)
        probe.check(encoder, encoder.reference_probe() if stored is None else stored)
        self._warm_up(encoder)
        return encoder

    def _warm_up(self, encoder: Encoder) -> None:
        """A full batch of pictures: engines compile for one, and measure, which is not for the first busy second."""
        if "image" in encoder.spec.modalities:
            pixels = encoder.prepare(probe.images()[0])
            encoder.embed(np.broadcast_to(pixels, (self.settings.max_batch, *pixels.shape)).copy())

    def _stored_probe(self, encoder: Encoder) -> NDArray[np.float32] | None:
        try:
            return self.store().features(encoder.spec.fingerprint).probe
        except (StoreError, UnknownFeatures):  # no table to agree with yet
            return None
