"""An encoder at work inside a service: bytes are decoded on threads, then wait for the model in one queue."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.batcher import Batcher
from embedder.encoder import Encoder, require_modality
from embedder.errors import BadMedia, QueueFull
from embedder.media import Limits, decode, guess
from embedder.spec import Modality
from services.web.errors import BadRequest
from services.web.metrics import Metrics
from services.web.middleware import problem
from services.web.wire import Upload, Vectored

Prepared = NDArray[Any]
Vector = NDArray[np.float32]


class EncoderWorker:
    """Turns uploads and texts into vectors, one model pass for as many of a modality as are waiting.

    Files are decoded before the queue, so a corrupt one fails alone. What is being decoded counts as
    waiting: a flood is turned away before it costs memory.

    Args:
        short_side: pixels that are enough of a large JPEG, see `embedder.probe.jpeg_side`.
    """

    def __init__(
        self,
        encoder: Encoder,
        threads: ThreadPoolExecutor,
        metrics: Metrics,
        *,
        max_batch: int,
        max_queue: int,
        limits: Limits,
        short_side: int | None,
    ) -> None:
        self.encoder = encoder
        self._threads, self._metrics = threads, metrics
        self._max_queue, self._limits, self._short_side = max_queue, limits, short_side
        self._pending = 0
        limited = {"max_batch": max_batch, "max_queue": max_queue}
        self._files: dict[Modality, Batcher[Prepared, Vector]] = {
            modality: Batcher(partial(self._run, modality), observe=metrics.stage, **limited)
            for modality in encoder.spec.modalities
        }
        self._tokens: Batcher[Prepared, Vector] = Batcher(self._run_tokens, observe=metrics.stage, **limited)
        self._texts: Batcher[str, Vector] = Batcher(self._run_texts, observe=metrics.stage, **limited)
        metrics.queue_depth(encoder.name, lambda: self._pending)

    async def start(self) -> None:
        await asyncio.gather(*(batcher.start() for batcher in self._batchers))

    async def stop(self) -> None:
        await asyncio.gather(*(batcher.stop() for batcher in self._batchers))

    @property
    def _batchers(self) -> "list[Batcher[Any, Vector]]":
        return [*self._files.values(), self._tokens, self._texts]

    async def embed_files(self, uploads: Sequence[Upload], *, tokens: bool = False) -> list[Vectored]:
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
            return await self._embed(uploads, {"image": self._tokens} if tokens else self._files)
        finally:
            self._pending -= len(uploads)

    async def embed_texts(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for every text. Raises QueueFull; BadRequest when the encoder takes no text."""
        if self.encoder.spec.text is None:
            raise BadRequest(f"encoder {self.encoder.name} takes no text; use one with a text side, e.g. lite0")
        vectors = await self._texts.submit(texts)
        for _ in texts:
            self._metrics.item("ok")
        return vectors

    async def _embed(
        self, uploads: Sequence[Upload], batchers: Mapping[Modality, Batcher[Prepared, Vector]]
    ) -> list[Vectored]:
        loop = asyncio.get_running_loop()
        items = await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._decode, upload, batchers.keys()) for upload in uploads)
        )
        await asyncio.gather(
            *(
                self._fill(batcher, [item for item in items if item.modality == modality])
                for modality, batcher in batchers.items()
            )
        )
        for item in items:
            self._metrics.item(item.done.error.code if item.done.error else "ok")
        return [item.done for item in items]

    @staticmethod
    async def _fill(batcher: Batcher[Prepared, Vector], items: Sequence["_Decoded"]) -> None:
        vectors = await batcher.submit([item.prepared for item in items])
        for item, vector in zip(items, vectors, strict=True):
            item.done = replace(item.done, vector=vector)

    def _decode(self, upload: Upload, takes: Collection[Modality]) -> "_Decoded":
        item = _Decoded(Vectored(upload.id, upload.name, error=upload.error))
        if upload.error:
            return item
        try:
            with self._metrics.timed("decode"):
                modality = require_modality(self.encoder.name, self.encoder.spec, upload.modality or guess(upload.data))
                if modality not in takes:
                    raise BadMedia("wrong_modality", f"{self.encoder.name} gives no tokens of {modality}")
                media = decode(upload.data, modality, self._limits, self._short_side)
                item.prepared = self.encoder.prepare(media)
                item.modality = modality
        except BadMedia as error:
            item.done = replace(item.done, error=problem(error))
        return item

    def _run(self, modality: Modality, inputs: list[Prepared]) -> Sequence[Vector]:
        return list(self.encoder.embed(np.stack(inputs), modality=modality).vectors)

    def _run_tokens(self, pixels: list[Prepared]) -> Sequence[Vector]:
        tokens = self.encoder.embed(np.stack(pixels), tokens=True).tokens
        assert tokens is not None  # noqa: S101  # asked for, of an encoder that gives them
        return list(tokens.reshape(len(pixels), -1).astype(np.float32))

    def _run_texts(self, texts: list[str]) -> Sequence[Vector]:
        return list(self.encoder.embed_texts(texts))


@dataclass(slots=True)
class _Decoded:
    """One upload on its way: prepared for the model, of that modality, unless there is a problem."""

    done: Vectored
    modality: Modality | None = None
    prepared: Prepared = field(default_factory=lambda: np.empty(0))
