"""The encoders of a running service: each is loaded in the background, unloaded when it is idle, and loaded again."""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from starlette.concurrency import run_in_threadpool

from embedder import registry
from embedder.engines.backend import Backend
from embedder.errors import AdapterMissing, CheckpointNotTrusted, LicenceNotAccepted, UnknownEncoder
from services.embedding import device_memory
from services.embedding.worker import EncoderWorker
from services.settings import Settings
from services.web.errors import EncoderBusy, EncoderNotAllowed, EncodersFull, NotReady

log = logging.getLogger("headwater.embedding")

State = Literal["loading", "ready", "failed", "unloaded"]

REMEDIES = {
    LicenceNotAccepted: "set HEADWATER_ACCEPT_NONCOMMERCIAL=true",
    AdapterMissing: "HEADWATER_ADAPTERS names the folder of adapters",
    CheckpointNotTrusted: "if you trust whoever made it, set HEADWATER_TRUST_CHECKPOINT=true",
}
"""What the operator can do about an encoder that cannot be loaded."""

DRAIN_SECONDS = 0.01
"""Seconds between two looks at whether an encoder that is unloaded has answered what waits."""

SWEEP_SECONDS = 1.0
"""Seconds between two looks at which encoders are idle."""


class TooLittleMemory(RuntimeError):
    """An encoder does not fit the memory that the encoders of a device may hold."""

    def __init__(self, name: str, size: int, device: str, limit: int) -> None:
        super().__init__(
            f"{name} needs {size} bytes on the {device} device, more than is left of the {limit} that encoders may "
            "hold there; unload another encoder (DELETE /v1/encoders/NAME); the operator can raise "
            "HEADWATER_ENCODER_BYTES"
        )


@dataclass(slots=True)
class Held:
    """One encoder that was asked for.

    Attributes:
        size: bytes that it holds on its device; for one that is not loaded, the bytes that it held before.
        used: time of the last request for it.
        fingerprint: fingerprint that it had when it was last loaded.
    """

    name: str
    used: float
    state: State = "loading"
    failure: str | None = None
    worker: EncoderWorker | None = None
    task: "asyncio.Task[None] | None" = None
    device: str = device_memory.CPU
    size: int = 0
    fingerprint: str | None = None


class Encoders:
    """All encoders that a service was asked for. All methods run on the event loop; encoders are loaded on threads.

    Args:
        make: loads an encoder and starts its worker.
        in_use: returns the names of the encoders that backfills use or wait for.
        forget: called with the name of an encoder that was unloaded.
        clock: returns the time in seconds.
        measure: returns the bytes that this process holds, by device.
    """

    def __init__(
        self,
        settings: Settings,
        make: Callable[[str], Awaitable[EncoderWorker]],
        in_use: Callable[[], Collection[str]],
        forget: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        measure: Callable[[], dict[str, int]] = device_memory.held,
    ) -> None:
        self._settings, self._make, self._in_use, self._forget = settings, make, in_use, forget
        self._clock, self._measure = clock, measure
        self._held: dict[str, Held] = {}
        self._one_at_a_time = asyncio.Lock()  # the memory of one load is measured, not that of several

    def all(self) -> list[Held]:
        """Return every encoder that was asked for, in the order of asking."""
        return list(self._held.values())

    def workers(self) -> dict[str, EncoderWorker]:
        """Return the workers of the encoders that are ready, by name."""
        return {held.name: held.worker for held in self._held.values() if held.worker and held.state == "ready"}

    def seconds_idle(self, held: Held) -> float:
        """Return the seconds since the last request for an encoder."""
        return max(0.0, self._clock() - held.used)

    def find(self, name: str) -> Held | None:
        """Return the encoder of a name or a fingerprint, whatever its state; None if none was asked for."""
        known = (held for held in self._held.values() if name in (held.name, held.fingerprint))
        return self._held.get(name) or next(known, None)

    def worker(self, name: str) -> EncoderWorker | None:
        """Return the worker of an encoder, by name or fingerprint; None if no such encoder was asked for.

        An encoder that was unloaded because it was idle is loaded again. Raises NotReady until it is ready.
        """
        held = self.find(name)
        if held is None:
            return None
        held.used = self._clock()
        if held.state == "unloaded":
            self._begin(held)
        if held.worker is None or held.state != "ready":
            raise NotReady(name, held.failure)
        return held.worker

    def ask(self, name: str) -> Held:
        """Load an encoder that a client asks for, unless it is ready or loading.

        Raises EncoderNotAllowed, UnknownEncoder and EncodersFull.
        """
        held = self.find(name)
        if held is None or held.state in ("failed", "unloaded"):
            if held is None:
                self._require_allowed(name)
            self._require_room(held)
            held = self.load(held.name if held else name)
        return held

    def load(self, name: str) -> Held:
        """Load an encoder in the background, whoever asks for it."""
        held = self._held.setdefault(name, Held(name, self._clock()))
        self._begin(held)
        return held

    async def remove(self, name: str) -> Held:
        """Answer what waits for an encoder, free its memory, and forget it.

        Raises UnknownEncoder; EncoderBusy while the encoder loads, or a backfill uses it or waits for it.
        """
        held = self.find(name)
        if held is None:
            raise UnknownEncoder(name, list(self._held))
        if held.state == "loading":
            raise EncoderBusy(held.name, "it is still loading")
        if held.name in self._in_use():
            raise EncoderBusy(held.name, "a backfill uses it, or waits for its turn (GET /v1/backfills)")
        del self._held[held.name]
        await self._unload(held)
        return held

    async def sweep(self) -> None:
        """Unload the encoders that were idle for as long as the settings say."""
        longest = self._settings.encoder_idle_seconds
        for held in self._idle() if longest else ():
            if self.seconds_idle(held) >= longest:
                await self._unload(held)

    async def sweep_forever(self) -> None:
        """Call `sweep` again and again."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def loaded(self) -> None:
        """Return when no encoder loads any more."""
        await asyncio.gather(*(held.task for held in self.all() if held.task), return_exceptions=True)

    async def stop(self) -> None:
        """End every load, and stop every worker when its batch is answered."""
        for held in self.all():
            if held.task:
                held.task.cancel()
        await self.loaded()
        await asyncio.gather(*(worker.stop() for worker in self.workers().values()))

    def _require_allowed(self, name: str) -> None:
        """Raise EncoderNotAllowed for a name that could read a file of the server, UnknownEncoder for one that is none.

        The names and patterns of the settings are allowed, whatever they look like.
        """
        if name in self._settings.encoders:
            return
        patterns = self._settings.allowed_encoders
        reads_files = "@" in name or "\\" in name or any(part in ("", ".", "..") for part in name.split("/"))
        allowed = any(fnmatchcase(name, each) for each in patterns) if patterns else not reads_files
        if ".." in name.split("/") or not allowed:
            raise EncoderNotAllowed(name)
        if not registry.is_known(name, self._settings.adapters.absolute()):
            raise UnknownEncoder(name, registry.names(self._settings.adapters.absolute()))

    def _require_room(self, asked: Held | None) -> None:
        most = self._settings.max_encoders
        others = [held for held in self.all() if held is not asked]
        if len(others) >= most:
            raise EncodersFull(most, [held.name for held in others])

    def _begin(self, held: Held) -> None:
        if held.task is None or held.task.done():
            held.state, held.failure = "loading", None
            held.task = asyncio.create_task(self._load(held), name=f"load {held.name}")

    async def _load(self, held: Held) -> None:
        async with self._one_at_a_time:
            try:
                await self._load_within_memory(held)
            except Exception as error:
                remedy = REMEDIES.get(type(error))
                held.failure = "; ".join(filter(None, (f"{type(error).__name__}: {error}", remedy)))
                held.state = "failed"
                log.exception("an encoder cannot be loaded", extra={"encoder": held.name})

    async def _load_within_memory(self, held: Held) -> None:
        """Load an encoder. Encoders that were used least recently are unloaded for it if it needs their memory.

        Its size is known before it is loaded if it was loaded before, otherwise it is measured afterwards.
        """
        await self._make_room(held)
        before = await run_in_threadpool(self._measure)
        worker = await self._make(held.name)
        held.device = Backend.named(worker.encoder.backend).device or device_memory.CPU
        held.size = device_memory.growth(before, await run_in_threadpool(self._measure), held.device)
        held.worker, held.fingerprint = worker, worker.encoder.spec.fingerprint
        try:
            await self._make_room(held)
        except TooLittleMemory:
            await self._unload(held)
            raise
        held.state, held.used = "ready", self._clock()
        log.info("encoder ready", extra={"encoder": held.name, "backend": worker.encoder.backend, "bytes": held.size})

    async def _make_room(self, wanted: Held) -> None:
        """Unload idle encoders of a device, the least recently used first, until `wanted` fits. Raises TooLittleMemory.

        Nothing is unloaded if that would not be enough.
        """
        limit = self._settings.encoder_bytes
        others = [each for each in self.all() if each is not wanted and each.device == wanted.device and each.worker]
        excess = wanted.size + sum(each.size for each in others) - limit
        if not limit or excess <= 0:
            return
        idle = [each for each in self._idle() if each in others]
        if sum(each.size for each in idle) < excess:
            raise TooLittleMemory(wanted.name, wanted.size, wanted.device, limit)
        for each in idle:
            if excess > 0:
                excess -= each.size
                await self._unload(each)

    def _idle(self) -> list[Held]:
        """Return the ready encoders that nobody uses, the least recently used first."""
        busy = self._in_use()
        ready = (each for each in self.all() if each.state == "ready" and each.worker)
        return sorted(
            (each for each in ready if each.name not in busy and each.worker and not each.worker.waiting),
            key=lambda each: each.used,
        )

    async def _unload(self, held: Held) -> None:
        """Answer what waits, then drop every reference to the network and give its memory back."""
        held.state, worker, held.worker = "unloaded", held.worker, None
        if worker is None:
            return
        self._forget(worker.encoder.name)
        while worker.waiting:
            await asyncio.sleep(DRAIN_SECONDS)
        await worker.stop()
        del worker
        await run_in_threadpool(_free)
        log.info("encoder unloaded", extra={"encoder": held.name, "bytes": held.size})


def _free() -> None:
    gc.collect()  # compiled networks are in cycles of references
    device_memory.release()
