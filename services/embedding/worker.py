"""An encoder at work inside a service: bytes are decoded on threads, then wait for the model in one queue."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.batcher import Batcher
from embedder.encoder import Encoder
from embedder.errors import BadImage, QueueFull
from embedder.image import decode
from services.errors import BadRequest
from services.http import problem
from services.items import Upload, Vectored
from services.metrics import Metrics

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float32]


class EncoderWorker:
    """Turns uploads and texts into vectors, one model pass for as many as are waiting.

    Images are decoded before the queue, so a corrupt one fails alone. What is being decoded counts as
    waiting: a flood is turned away before it costs memory.
    """

    def __init__(
        self,
        encoder: Encoder,
        threads: ThreadPoolExecutor,
        metrics: Metrics,
        *,
        max_batch: int,
        max_queue: int,
        max_pixels: int,
    ) -> None:
        self.encoder = encoder
        self._threads, self._metrics = threads, metrics
        self._max_queue, self._max_pixels = max_queue, max_pixels
        self._pending = 0
        self._images: Batcher[Pixels, Vector] = Batcher(
            self._run, max_batch=max_batch, max_queue=max_queue, observe=metrics.stage
        )
        self._tokens: Batcher[Pixels, Vector] = Batcher(
            self._run_tokens, max_batch=max_batch, max_queue=max_queue, observe=metrics.stage
        )
        self._texts: Batcher[str, Vector] = Batcher(
            self._run_texts, max_batch=max_batch, max_queue=max_queue, observe=metrics.stage
        )
        metrics.queue_depth(encoder.name, lambda: self._pending)

    async def start(self) -> None:
        await self._images.start()
        await self._tokens.start()
        await self._texts.start()

    async def stop(self) -> None:
        await self._images.stop()
        await self._tokens.stop()
        await self._texts.stop()

    async def embed_images(self, uploads: Sequence[Upload], *, tokens: bool = False) -> list[Vectored]:
        """A vector, or all tokens one after the other (P · F,), or a problem for every upload, in order.

        Raises QueueFull at once when there is no room; BadRequest for tokens of an encoder that gives none.
        """
        if tokens and self.encoder.spec.tokens is None:
            raise BadRequest(f"encoder {self.encoder.name} gives no tokens")
        if self._pending + len(uploads) > self._max_queue:
            raise QueueFull(
                f"{self._pending} items wait for encoder {self.encoder.name}, {len(uploads)} more do not fit "
                f"(at most {self._max_queue}); try again later, or raise HEADWATER_MAX_QUEUE",
                retry_after=1.0,
            )
        self._pending += len(uploads)
        try:
            return await self._embed(uploads, self._tokens if tokens else self._images)
        finally:
            self._pending -= len(uploads)

    async def embed_texts(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for every text. Raises QueueFull; BadRequest when the encoder takes no text."""
        if self.encoder.spec.text is None:
            raise BadRequest(f"encoder {self.encoder.name} takes images only, no text")
        vectors = await self._texts.submit(texts)
        for _ in texts:
            self._metrics.item("ok")
        return vectors

    async def _embed(self, uploads: Sequence[Upload], batcher: Batcher[Pixels, Vector]) -> list[Vectored]:
        loop = asyncio.get_running_loop()
        decoded = await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._decode, upload) for upload in uploads)
        )
        pixels = [result for result in decoded if isinstance(result, np.ndarray)]
        vectors = iter(await batcher.submit(pixels) if pixels else [])
        items = [
            result if isinstance(result, Vectored) else Vectored(upload.id, upload.name, next(vectors))
            for upload, result in zip(uploads, decoded, strict=True)
        ]
        for item in items:
            self._metrics.item(item.error.code if item.error else "ok")
        return items

    def _decode(self, upload: Upload) -> Pixels | Vectored:
        failed = Vectored(upload.id, upload.name, error=upload.error)
        if upload.error:
            return failed
        try:
            with self._metrics.timed("decode"):
                return self.encoder.prepare(decode(upload.data, max_pixels=self._max_pixels).image)
        except BadImage as error:
            return replace(failed, error=problem(error))

    def _run(self, pixels: list[Pixels]) -> Sequence[Vector]:
        return list(self.encoder.embed(np.stack(pixels)).vectors)

    def _run_tokens(self, pixels: list[Pixels]) -> Sequence[Vector]:
        tokens = self.encoder.embed(np.stack(pixels), tokens=True).tokens
        assert tokens is not None  # noqa: S101  # asked for, of an encoder that gives them
        return list(tokens.reshape(len(pixels), -1).astype(np.float32))

    def _run_texts(self, texts: list[str]) -> Sequence[Vector]:
        return list(self.encoder.embed_texts(texts))
