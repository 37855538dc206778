"""Decodes the JPEGs of requests that come at once in batches. Few of them are faster on the threads of the CPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from embedder.batcher import Batcher
from embedder.encoder import JPEG_BATCH, JpegDecoder
from services.web.metrics import Metrics
from services.web.wire import Upload

_START = b"\xff\xd8\xff"


class JpegQueue:
    """The JPEGs that wait for a `JpegDecoder`. Those that queue while a batch is decoded are the next batch.

    All methods must be called in one event loop.
    """

    def __init__(self, jpegs: JpegDecoder, max_queue: int, metrics: Metrics) -> None:
        """
        Args:
            max_queue: most files that wait.
        """
        self._jpegs, self._metrics, self._under_way = jpegs, metrics, 0
        self._batcher: Batcher[Upload, NDArray[np.uint8] | None] = Batcher(
            self._rows, max_batch=JPEG_BATCH, max_queue=max_queue
        )

    async def start(self) -> None:
        await self._batcher.start()

    async def stop(self) -> None:
        await self._batcher.stop()

    @contextmanager
    def arrived(self, uploads: Sequence[Upload]) -> Iterator["JpegQueue | None"]:
        """Count the JPEGs of a request while they are decoded, here or elsewhere.

        Yields this queue if enough JPEGs are under way to be decoded together, otherwise None.
        """
        count = sum(_is_jpeg(upload) for upload in uploads)
        self._under_way += count
        try:
            yield self if self._under_way >= self._jpegs.fewest else None
        finally:
            self._under_way -= count

    async def row(self, upload: Upload) -> NDArray[np.uint8] | None:
        """Return the encoder's input made from a file; None if it must be decoded alone."""
        if not _is_jpeg(upload):
            return None
        with self._metrics.timed("decode"):
            (row,) = await self._batcher.submit([upload])
        return row

    def _rows(self, uploads: list[Upload]) -> list[NDArray[np.uint8] | None]:
        taken = {at: file for at, upload in enumerate(uploads) if (file := self._jpegs.take(upload.data)) is not None}
        rows = dict(zip(taken, self._jpegs.rows([*taken.values()]), strict=True))
        for at in taken:
            _ = uploads[at].id  # computed here, because it takes time
        return [rows.get(at) for at in range(len(uploads))]


def _is_jpeg(upload: Upload) -> bool:
    return not upload.error and upload.modality in (None, "image") and upload.data.startswith(_START)
