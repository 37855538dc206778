"""Shared calls of the embedding service: photos that arrive while calls are under way go together in the next one.

Each call costs processor time in both services, which one call for several photos saves (`python -m
benchmarks.shared`). Nothing waits without need: a request goes at once unless several calls for its encoder are under
way, and then it waits until one of them ends, until what waits fills a call, or for `PATIENCE` seconds. (The batcher of
the embedding service works so too, see `embedder.batcher`.)
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.errors import BadMedia
from embedder.media import guess
from embedder.spec import Modality
from services.calls import READY_SECONDS
from services.classification.embedding import Embedding
from services.web import tracing
from services.web.admission import FACTORS, SMALL
from services.web.errors import RemoteProblem
from services.web.media_types import PACKED
from services.web.wire import Upload, VectoredBatch

ITEMS = 32
"""Largest number of files of a shared call: a full batch of an encoder on a CPU."""

BYTES = SMALL // FACTORS[PACKED.encode()]
"""Largest size of a shared call. The embedding service counts it as a small request, as it does a single photo."""

PATIENCE = 0.25
"""Longest time in seconds that a photo waits for others: a call that hangs, or whose files decode slowly, does not keep
back those after it."""

REPEATED = (413, 422, 500, 502)
"""HTTP statuses of a shared call that the files of one request may have caused. Each request is then sent alone."""

_HEADER = 2**11
"""Bytes that are counted for the name of a file, at most 255 characters, and its length in the header of the call."""

Send = Callable[[Sequence[Upload]], Awaitable[VectoredBatch]]


class SharedEmbedding:
    """An `Embedding` in which requests for photos share calls. Everything else passes as it is.

    Only small photos share: those who asked for them would wait for a large file, a sound or a video beside them.

    Args:
        embedding: the embedding service.
        most: number of calls under way for one encoder up to which a request goes at once; 0 to share no call.
        count: called with the number of files of each call.
    """

    def __init__(self, embedding: Embedding, *, most: int, count: Callable[[int], None]) -> None:
        self._embedding, self._most, self._count = embedding, most, count
        self._lines: dict[tuple[str, bool, Modality | None], _Line] = {}

    async def embed(
        self, files: Sequence[Upload], /, *, encoder: str, tokens: bool = False, modality: Modality | None = None
    ) -> VectoredBatch:
        """Return one item for each file, in order.

        A file that cannot be embedded is a problem of its item. What the whole call fails with is raised for every
        request in it, unless the files of one request may be the reason: then each of them is sent again, alone.
        """
        send = partial(self._send, encoder=encoder, tokens=tokens, modality=modality)
        if not self._most or not _may_share(files):
            return await send(files)
        key = (encoder, tokens, modality)
        if key not in self._lines:
            self._lines[key] = _Line(send, self._most)
        return await self._lines[key].embed(files)

    async def _send(
        self, files: Sequence[Upload], *, encoder: str, tokens: bool, modality: Modality | None
    ) -> VectoredBatch:
        self._count(len(files))
        return await self._embedding.embed(files, encoder=encoder, tokens=tokens, modality=modality)

    async def embed_texts(self, texts: Sequence[str], /, *, encoder: str) -> NDArray[np.float32]:
        return await self._embedding.embed_texts(texts, encoder=encoder)

    async def ready(self, *, seconds: float = READY_SECONDS) -> dict[str, Any]:
        return await self._embedding.ready(seconds=seconds)

    async def aclose(self) -> None:
        for line in self._lines.values():
            line.stop()
        await self._embedding.aclose()


def _may_share(files: Sequence[Upload]) -> bool:
    return len(files) > 0 and _fit(files) and all(map(_is_image, files))


def _fit(files: Sequence[Upload]) -> bool:
    """Return True if the files are within the limits of a shared call."""
    return len(files) <= ITEMS and sum(len(file.data) + _HEADER for file in files) <= BYTES


def _is_image(file: Upload) -> bool:
    with suppress(BadMedia):
        return (file.modality or guess(file.data)) == "image"
    return False


@dataclass(frozen=True, slots=True)
class _Caller:
    """A request that waits for its part of a shared call.

    Attributes:
        context: context of the request, with its trace and its id.
    """

    files: Sequence[Upload]
    answer: "asyncio.Future[VectoredBatch]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    context: Context = field(default_factory=copy_context)

    @property
    def gone(self) -> bool:
        """True if nobody waits for the answer any more."""
        return self.answer.done()

    def deliver(self, batch: VectoredBatch) -> None:
        if not self.gone:
            self.answer.set_result(batch)

    def fail(self, error: Exception) -> None:
        if not self.gone:
            self.answer.set_exception(error)
            self.answer.exception()  # marks it as seen: a caller that is cancelled before it wakes reads it no more


def _files(callers: Iterable[_Caller]) -> list[Upload]:
    return [file for caller in callers for file in caller.files]


class _Line:
    """The calls for one encoder, and the requests that wait for the next one. All methods are called on one loop."""

    def __init__(self, send: Send, most: int) -> None:
        self._send, self._most = send, most
        self._under_way, self._waiting = 0, list[_Caller]()
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def embed(self, files: Sequence[Upload]) -> VectoredBatch:
        """Return the answer for these files: from a call of their own that begins at once, or from a shared one."""
        if self._under_way >= self._most:
            with tracing.span("shared"):
                return await self._together(_Caller(files))
        self._under_way += 1
        try:
            return await self._send(files)
        finally:
            self._ended()

    def stop(self) -> None:
        """Cancel the requests that wait, and the shared calls."""
        self._leave()
        for call in self._calls:
            call.cancel()

    async def _together(self, caller: _Caller) -> VectoredBatch:
        """Let the caller wait for the next call. What waits already goes at once if the two do not fit one call."""
        if not _fit(_files([*self._waiting, caller])):
            self._leave()
        if not self._waiting:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._leave)
        self._waiting.append(caller)
        return await caller.answer

    def _leave(self) -> None:
        """Begin a call for those that wait, if there are any."""
        if self._timer is not None:
            self._timer.cancel()
        callers, self._waiting = [caller for caller in self._waiting if not caller.gone], []
        if callers:
            self._start(callers)

    def _start(self, callers: Sequence[_Caller]) -> None:
        """Begin a call for these requests, in the trace of the first one. It is cancelled when all of them are gone."""
        tracing.link([caller.context for caller in callers])
        self._under_way += 1
        call = asyncio.create_task(self._share(callers), context=callers[0].context)
        self._calls.add(call)

        def left(_: object) -> None:
            if all(caller.answer.cancelled() for caller in callers):
                call.cancel()

        def ended(_: object) -> None:
            self._calls.discard(call)
            for caller in callers if call.cancelled() else ():
                caller.answer.cancel()
            self._ended()

        call.add_done_callback(ended)
        for caller in callers:
            caller.answer.add_done_callback(left)

    def _ended(self) -> None:
        self._under_way -= 1
        if self._under_way < self._most:
            self._leave()

    async def _share(self, callers: Sequence[_Caller]) -> None:
        """Send the files of all callers in one call, and give each its part of the answer."""
        files = _files(callers)
        try:
            batch = await self._send(files)
            if len(batch.items) != len(files):
                raise RemoteProblem(502, "unexpected_answer", f"{len(batch.items)} items for {len(files)} files")
        except Exception as error:
            self._refused(callers, error)
            return
        items = iter(batch.items)
        for caller in callers:
            caller.deliver(replace(batch, items=list(islice(items, len(caller.files)))))

    def _refused(self, callers: Sequence[_Caller], error: Exception) -> None:
        """Begin a call for each caller if the files of one may be the fault. Otherwise the error is everyone's."""
        alone = len(callers) > 1 and isinstance(error, RemoteProblem) and error.status in REPEATED
        for caller in callers:
            if not alone:
                caller.fail(error)
            elif not caller.gone:
                self._start([caller])
