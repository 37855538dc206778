"""Runs an encoder inside a service: threads decode the files, one queue for each modality feeds the encoder."""

import asyncio
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder.batcher import Batcher
from embedder.encoder import Encoder, JpegDecoder, Pace, pace_of, require_modality
from embedder.errors import MODALITY_NAMES, BadMedia, QueueFull
from embedder.media import Limits, decode, guess
from embedder.media.guard import Reserve, confined
from embedder.spec import Modality
from services.embedding.decode_memory import DecodeMemory, NoRoom
from services.embedding.jpeg_queue import JpegQueue
from services.web import tracing
from services.web.error_answers import problem
from services.web.errors import NotOffered
from services.web.metrics import Metrics
from services.web.waiting import LastMinute, Throughput
from services.web.wire import Upload, Vectored

Prepared = NDArray[Any]
Vector = NDArray[np.float32]
T = TypeVar("T")


class EncoderWorker:
    """Turns uploads and texts into vectors. One pass of the encoder takes all waiting items of a modality.

    Files are decoded before they enter the queue, so a corrupt file fails alone. Files that are being decoded count as
    waiting, so that too many requests are refused before they cost memory.

    Args:
        threads: pool that decodes; shared by all encoders of a service.
        max_batch: largest number of items in one call of the encoder; 0 for as many as keep it busy.
        max_queue: largest number of files that are decoded or wait.
        short_side: length in pixels of the shorter side that a large JPEG is decoded to, see
            `embedder.probe.jpeg_side`; None to decode it whole.
        jpegs: decoder of many JPEGs at once; None to decode each on a thread.
        memory: memory for decoding; shared by all encoders of a service. None for no limit.
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
        jpegs: JpegDecoder | None = None,
        memory: DecodeMemory | None = None,
    ) -> None:
        self.encoder = encoder
        self._threads, self._metrics = threads, metrics
        self._max_queue, self._limits, self._short_side = max_queue, limits, short_side
        self.last_minute = LastMinute()
        self._items, self._memory = Throughput(), memory or DecodeMemory(sys.maxsize)
        self._max_batch = max_batch
        self._file_queues: dict[Modality, Batcher[Prepared, Vector]] = {}
        self._batchers: list[Batcher[Any, Vector]] = []
        self._jpegs = JpegQueue(jpegs, max_queue, metrics) if jpegs else None
        metrics.queue_depth(encoder.name, lambda: self._items.under_way)

    async def start(self) -> None:
        """Start the queues. On a GPU, the rows of a call may have to be measured first."""
        await asyncio.to_thread(self._make_queues)
        await asyncio.gather(*(queue.start() for queue in self._queues))

    async def stop(self) -> None:
        await asyncio.gather(*(queue.stop() for queue in self._queues))

    @property
    def waiting(self) -> int:
        """Number of files that are not answered yet, and of texts that wait."""
        return self._items.under_way + self._text_queue.depth

    @property
    def _queues(self) -> "list[Batcher[Any, Vector] | JpegQueue]":
        return [*self._batchers, *filter(None, [self._jpegs])]

    def _make_queues(self) -> None:
        paces = {modality: pace_of(self.encoder, modality) for modality in self.encoder.spec.modalities}
        first = next(iter(paces.values()), Pace())
        for modality, pace in paces.items():
            self._file_queues[modality] = self._queue(partial(self._run, modality), pace)
        # Tokens of many images would fill the memory.
        self._token_queue: Batcher[Prepared, Vector] = self._queue(self._run_tokens, Pace(lanes=first.lanes))
        self._text_queue: Batcher[str, Vector] = self._queue(self._run_texts, first)
        self._batchers += [*self._file_queues.values(), self._token_queue, self._text_queue]

    def _queue(self, run: Callable[[list[T]], Sequence[Vector]], pace: Pace) -> Batcher[T, Vector]:
        return Batcher(
            self._metrics.batches(self.encoder.name, run),
            max_batch=self._max_batch or pace.rows,
            max_queue=self._max_queue,
            lanes=pace.lanes,
            observe=self._metrics.stage,
        )

    async def embed_files(self, uploads: Sequence[Upload], *, tokens: bool = False) -> list[Vectored]:
        """Return one item for each upload, in order: its (d,) vector, all its tokens as (P · F,), or its problem.

        Raises:
            QueueFull: there is no room for all of them.
            NotOffered: tokens are asked of an encoder that has none.
        """
        if tokens:
            self.require_tokens()
        waiting = self._items.under_way
        if waiting + len(uploads) > self._max_queue:
            raise QueueFull(
                f"{waiting} items wait for encoder {self.encoder.name}, {len(uploads)} more do not fit "
                f"(at most {self._max_queue}); try again later; the operator can raise HEADWATER_MAX_QUEUE",
                retry_after=waiting / self._items.rate,
            )
        self._items.begin(len(uploads))
        try:
            return await self._embed(uploads, {"image": self._token_queue} if tokens else self._file_queues)
        finally:
            self._items.end(len(uploads))
            self.last_minute.add(len(uploads))

    def require_tokens(self) -> tuple[int, int]:
        """Return the number of tokens of an image and their width (P, F). Raises NotOffered if there are none."""
        if self.encoder.spec.tokens is None:
            raise NotOffered(f"encoder {self.encoder.name} has no tokens; leave tokens out, or name another encoder")
        return self.encoder.spec.tokens

    def width(self, *, tokens: bool) -> int:
        """Return how many numbers `embed_files` gives for a file. Raises NotOffered if there are no tokens."""
        return math.prod(self.require_tokens()) if tokens else self.encoder.spec.dim

    async def embed_texts(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector (d,) float32 for each text. Raises QueueFull, and NotOffered if the encoder takes no text."""
        if self.encoder.spec.text is None:
            raise NotOffered(f"encoder {self.encoder.name} takes no text; name one that does, such as lite0")
        vectors = await self._text_queue.submit(texts, tracing.watch())
        for _ in texts:
            self._metrics.item("ok")
        return vectors

    async def _embed(
        self, uploads: Sequence[Upload], queues: Mapping[Modality, Batcher[Prepared, Vector]]
    ) -> list[Vectored]:
        """Decode every upload, then embed the decoded files of each modality in its own queue."""
        decoded = await self._decode_all(uploads, queues.keys())
        await asyncio.gather(
            *(
                self._fill(queue, [file for file in decoded if file.modality == modality])
                for modality, queue in queues.items()
            )
        )
        for file in decoded:
            self._metrics.item(file.answer.error.code if file.answer.error else "ok")
        return [file.answer for file in decoded]

    async def _decode_all(self, uploads: Sequence[Upload], takes: Collection[Modality]) -> list["_Decoded"]:
        """Decode every upload: JPEGs together where that is faster, the rest one by one."""
        if self._jpegs is None or "image" not in takes:
            return await asyncio.gather(*(self._decode_within_memory(upload, takes) for upload in uploads))
        with self._jpegs.arrived(uploads) as jpegs:
            return await asyncio.gather(*(self._decode_jpeg(upload, takes, jpegs) for upload in uploads))

    async def _decode_jpeg(self, upload: Upload, takes: Collection[Modality], jpegs: "JpegQueue | None") -> "_Decoded":
        """Decode an upload in `jpegs`, or one by one if there is no such queue or if it does not take the file."""
        row = await jpegs.row(upload) if jpegs else None
        if row is None:
            return await self._decode_within_memory(upload, takes)
        return _Decoded(Vectored(upload.id, upload.name), "image", row)

    async def _decode_within_memory(self, upload: Upload, takes: Collection[Modality]) -> "_Decoded":
        """Decode on a thread. What does not fit the memory gives its thread back and waits."""
        share, run = self._memory.share(), tracing.carried(self._decode)
        job = self._threads.submit(run, upload, takes, share.reserve)
        try:
            while True:
                try:
                    return await asyncio.wrap_future(job)
                except NoRoom as error:
                    await share.wait(error.size)
                job = self._threads.submit(run, upload, takes, share.reserve)
        finally:
            share.close_after(job)

    @staticmethod
    async def _fill(queue: Batcher[Prepared, Vector], decoded: Sequence["_Decoded"]) -> None:
        """Put the vectors of the files into their answers."""
        vectors = await queue.submit([file.prepared for file in decoded], tracing.watch())
        for file, vector in zip(decoded, vectors, strict=True):
            file.answer = replace(file.answer, vector=vector)

    def _decode(self, upload: Upload, takes: Collection[Modality], reserve: Reserve) -> "_Decoded":
        """Return the input of the encoder, or the problem; `takes` are the modalities that have a queue."""
        file = _Decoded(Vectored(upload.id, upload.name, error=upload.error))
        if upload.error:
            return file
        try:
            with self._metrics.timed("decode"):
                modality = require_modality(self.encoder.name, self.encoder.spec, upload.modality or guess(upload.data))
                if modality not in takes:
                    raise BadMedia(
                        "wrong_modality",
                        f"{self.encoder.name} has tokens of images only; this file is {MODALITY_NAMES[modality][0]}",
                    )
                media = decode(upload.data, modality, self._limits, self._short_side, reserve)
                with confined(who="the encoder"):
                    file.prepared = self.encoder.prepare(media)
                file.modality = modality
        except NoRoom:
            raise
        except BadMedia as error:
            file.answer = replace(file.answer, error=problem(error))
        return file

    def _run(self, modality: Modality, inputs: list[Prepared]) -> Sequence[Vector]:
        return list(self.encoder.embed(np.stack(inputs), modality=modality).vectors)

    def _run_tokens(self, pixels: list[Prepared]) -> Sequence[Vector]:
        tokens = self.encoder.embed(np.stack(pixels), tokens=True).tokens
        assert tokens is not None  # noqa: S101  # `embed_files` has required them
        return list(tokens.reshape(len(pixels), -1).astype(np.float32))

    def _run_texts(self, texts: list[str]) -> Sequence[Vector]:
        return [vector for some in _short_batches(texts) for vector in self.encoder.embed_texts(some)]


CHARACTERS_A_PASS = 4096
"""Characters of the texts of one pass of an encoder. A pass of many long texts keeps images waiting for seconds."""


def _short_batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in order, in batches of at most `CHARACTERS_A_PASS`; a longer text is alone."""
    start = size = 0
    for i, text in enumerate(texts):
        if i > start and size + len(text) > CHARACTERS_A_PASS:
            yield texts[start:i]
            start, size = i, 0
        size += len(text)
    if texts:
        yield texts[start:]


@dataclass(slots=True)
class _Decoded:
    """One upload between decoding and embedding. Without a problem, `prepared` is the input of the encoder."""

    answer: Vectored
    modality: Modality | None = None
    prepared: Prepared = field(default_factory=lambda: np.empty(0))
