"""Reads images on threads, ahead of whoever uses their pixels. A broken image gives a reason in place of pixels."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.errors import BadMedia
from embedder.media import Limits, decode
from embedder.media.guard import confined
from embedder.media.room import Room
from services.jobs.backfill.prefetch import Bound, map_ahead, read_ahead


class Wanted(NamedTuple):
    """An image as it was read.

    Attributes:
        id: id of the asset.
        content: the bytes of its file, or why they cannot be read.
        epoch: number of the epoch that it is for.
    """

    id: str
    content: bytes | Exception
    epoch: int = 0


class Pixels(NamedTuple):
    """An image as the network takes it: (size, size, 3) uint8, or the reason why there is none."""

    id: str
    pixels: NDArray[np.uint8] | None
    reason: str = ""


Prepare = Callable[[Image.Image, Wanted], NDArray[np.uint8]]
"""Makes the network's input from a decoded image."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Decodes and prepares images on threads.

    Attributes:
        limits: limits of what is decoded.
        threads: number of threads.
    """

    limits: Limits
    threads: int

    def pixels(self, wanted: Iterator[Wanted], prepare: Prepare, batch: int, ahead: int) -> Iterator[Pixels]:
        """Yield the images in order.

        Args:
            batch: images that are read from the store in one step.
            ahead: most images that wait, decoded or not.
        """
        room = Room(self.limits.max_decode_bytes)
        decoders = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        try:
            contents: Iterable[Wanted] = read_ahead(wanted, Bound(batch))
            yield from map_ahead(decoders, lambda each: self._one(each, prepare, room), contents, Bound(ahead))
        finally:
            decoders.shutdown(cancel_futures=True)

    def _one(self, wanted: Wanted, prepare: Prepare, room: Room) -> Pixels:
        if isinstance(wanted.content, Exception):
            return Pixels(wanted.id, None, str(wanted.content))
        try:
            with room.share() as reserve, confined():
                image = decode(wanted.content, "image", self.limits, reserve=reserve)
                if not isinstance(image, Image.Image):
                    raise TypeError(f"an image was expected, not {type(image).__name__}")
                return Pixels(wanted.id, prepare(image, wanted))
        except BadMedia as error:
            return Pixels(wanted.id, None, str(error))
