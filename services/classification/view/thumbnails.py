"""Thumbnails of stored assets, made on threads from the stored files and kept in memory for the next time."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import TypeVar, cast

from embedder import cpus
from embedder.errors import BadMedia
from embedder.media.guard import Reserve
from embedder.media.room import Room
from embedder.spec import Modality
from services.classification.view.pictures import Picture, draw
from services.settings import Settings
from services.web.errors import NotShown
from services.web.quoting import shortened
from store import Asset, Store
from store.errors import UnknownId
from store.schema import NO_FILE

R = TypeVar("R")
Use = Callable[[Asset, bytes, Reserve], R]
"""Makes something of an asset and its bytes. It asks the last argument for the memory that decoding needs."""

AT_ONCE = 16
"""Number of files that one thread reads and draws before those of another request have their turn."""


class Thumbnails:
    """Reads and draws the stored files of a service, on as many threads as it has processors.

    Args:
        store: function that returns the store. Raises StoreError.
    """

    def __init__(self, store: Callable[[], Store], settings: Settings) -> None:
        self._store, self._limits = store, settings.limits
        self._threads = ThreadPoolExecutor(cpus.usable(), thread_name_prefix="thumbnails")
        self._room = Room(settings.max_decode_bytes)
        self._kept = Kept(settings.max_thumbnail_bytes)

    def stop(self) -> None:
        """Draw nothing more. What is being drawn is finished."""
        self._threads.shutdown(cancel_futures=True)

    async def of(self, ids: Iterable[str], side: int) -> Mapping[str, Picture | Exception]:
        """Return for each id the picture of this long side in pixels, or why there is none: a broken file fails alone.

        The reasons are UnknownId, BadMedia and NotShown. Raises StoreError if the store cannot be read.
        """
        store, wanted = self._store(), list(dict.fromkeys(ids))
        stored = await self._on_thread(lambda: store.assets.described(wanted))
        found: dict[str, Picture | Exception] = {}
        missing = []
        for id_ in wanted:
            if id_ not in stored:
                found[id_] = UnknownId([shortened(id_)])
            elif kept := self._kept.get((id_, side)):
                found[id_] = kept
            else:
                missing.append(stored[id_])
        parts = (missing[start : start + AT_ONCE] for start in range(0, len(missing), AT_ONCE))
        for drawn in await asyncio.gather(*(self._draw(store, part, side) for part in parts)):
            found |= drawn
        return found

    async def read(self, id_: str, use: Use[R]) -> R:
        """Return what `use` makes of an asset and its bytes. Raises UnknownId, NotShown and StoreError."""
        store = self._store()

        def run() -> R | Exception:
            [asset] = store.assets.get([id_])
            [(_, data)] = store.assets.contents([id_])
            return self._used(asset, data, use)

        return shown(await self._on_thread(run))

    async def _draw(self, store: Store, assets: Sequence[Asset], side: int) -> Mapping[str, Picture | Exception]:
        """Draw some assets on one thread, and keep their pictures."""

        def one(asset: Asset, data: bytes, reserve: Reserve) -> Picture:
            return draw(data, cast("Modality", asset.modality), side, self._limits, reserve)

        left = threading.Event()

        def run() -> dict[str, Picture | Exception]:
            contents = store.assets.contents([asset.id for asset in assets])
            pairs = takewhile(lambda _: not left.is_set(), zip(assets, contents, strict=True))
            return {asset.id: self._used(asset, data, one) for asset, (_, data) in pairs}

        try:
            drawn = await self._on_thread(run)
        except asyncio.CancelledError:  # the client has left
            left.set()
            raise
        for id_, picture in drawn.items():
            if isinstance(picture, Picture):
                self._kept.put((id_, side), picture)
        return drawn

    def _used(self, asset: Asset, data: bytes | Exception, use: Use[R]) -> R | Exception:
        """Return what `use` makes of an asset, or why it cannot."""
        if asset.modality == NO_FILE:
            return NotShown(f"asset {asset.id} has no file, because only its vector was imported; ingest the file")
        if isinstance(data, UnknownId):  # removed meanwhile
            return data
        if isinstance(data, Exception):
            return NotShown.missing(asset.id)
        try:
            with self._room.share() as reserve:
                return use(asset, data, reserve)
        except BadMedia as error:
            return error

    async def _on_thread(self, run: Callable[[], R]) -> R:
        """Run a function on one of the threads. If the request ends before its turn comes, it never runs."""
        return await asyncio.wrap_future(self._threads.submit(run))


def shown(found: R | Exception) -> R:
    """Return what was found. Raises NotShown for a file that cannot be decoded, and other exceptions as they are."""
    if isinstance(found, BadMedia):
        raise NotShown(str(found)) from found
    if isinstance(found, Exception):
        raise found
    return found


class Kept:
    """The pictures that were asked for last, as many as fit a number of bytes. Only the event loop uses it."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self.bytes = most_bytes, 0
        self._pictures: OrderedDict[tuple[str, int], Picture] = OrderedDict()

    def get(self, key: tuple[str, int]) -> Picture | None:
        """Return the picture of an id and a side, if it is kept."""
        picture = self._pictures.get(key)
        if picture is not None:
            self._pictures.move_to_end(key)
        return picture

    def put(self, key: tuple[str, int], picture: Picture) -> None:
        """Keep a picture, and forget those that were not asked for longest."""
        self.bytes -= _size(self._pictures.pop(key, None))
        self._pictures[key] = picture
        self.bytes += _size(picture)
        while self.bytes > self._most:
            self.bytes -= _size(self._pictures.popitem(last=False)[1])


_ENTRY = 600
"""Bytes that a kept picture takes beside its data."""


def _size(picture: Picture | None) -> int:
    return 0 if picture is None else len(picture.data) + _ENTRY
