"""Images of a backfill that a decoder takes in batches; the others go to the threads that decode them one by one."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from embedder.encoder import JPEG_BATCH, JPEG_BATCHES, JpegDecoder
from services.jobs.backfill.assets import Content, PreparedAsset, size_of
from services.jobs.backfill.prefetch import Bound, map_ahead
from services.jobs.backfill.timing import Profile

BATCH_BYTES, AHEAD_BYTES = 32 << 20, 256 << 20
"""Bytes of files after which a batch is full, and most bytes of all batches that wait."""


def decoded_in_batches(
    jpegs: JpegDecoder,
    decoders: ThreadPoolExecutor,
    decode: Callable[[Content], PreparedAsset],
    contents: Iterable[Content],
    profile: Profile,
    ahead: int,
) -> Iterator[PreparedAsset]:
    """Yield the prepared images in the order of `contents`, a few batches ahead of the caller.

    Args:
        decode: prepares one image, on a thread of `decoders`.
        ahead: images that may wait for the caller, approximately.
    """

    def batch(some: list[Content]) -> list[PreparedAsset]:
        with profile.stage("decode", 0):
            files = [jpegs.take(data) if isinstance(data, bytes) else None for _, data in some]
        coming = {at: decoders.submit(decode, some[at]) for at, file in enumerate(files) if file is None}
        taken = {at: file for at, file in enumerate(files) if file is not None}
        rows = dict(zip(taken, jpegs.rows([*taken.values()], profile.stage), strict=True))
        coming |= {at: decoders.submit(decode, some[at]) for at, row in rows.items() if row is None}
        ready = {at: PreparedAsset(some[at][0], row) for at, row in rows.items() if row is not None}
        return [ready[at] if at in ready else coming[at].result() for at in range(len(some))]

    # At least one batch more than are decoded at once waits for the caller.
    batches = max(JPEG_BATCHES + 1, math.ceil(ahead / JPEG_BATCH))
    bound = Bound(batches, AHEAD_BYTES, lambda some: sum(map(size_of, some)))
    with ThreadPoolExecutor(JPEG_BATCHES, thread_name_prefix="jpegs") as lanes:
        for done in map_ahead(lanes, batch, _batches(contents), bound):
            yield from done


def _batches(contents: Iterable[Content]) -> Iterator[list[Content]]:
    some, held = list[Content](), 0
    for content in contents:
        some.append(content)
        held += size_of(content)
        if len(some) == JPEG_BATCH or held >= BATCH_BYTES:
            yield some
            some, held = [], 0
    if some:
        yield some
