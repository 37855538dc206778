"""The worker of the embedding service: a file that fails, for whatever reason, fails alone."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.blocks import Blocks
from helpers.faults import decoder_fails, preparation_fails
from helpers.paced import PacedBlocks
from helpers.pictures import photo
from helpers.sounds import sound

from embedder import registry
from embedder.encoder import Pace
from embedder.media import DEFAULT_LIMITS
from embedder.media.image import decode
from services.embedding.worker import EncoderWorker
from services.web.metrics import Metrics
from services.web.wire import Upload, Vectored

FILES = [sound(1), sound(2, seconds=0.77), sound(3, subtype="GSM610", rate=8_000), sound(4)]


async def answers() -> list[Vectored]:
    """Send `FILES` in one request to a worker of melstat."""
    limits = {"max_batch": 8, "max_queue": 8, "limits": DEFAULT_LIMITS, "short_side": None}
    with ThreadPoolExecutor(2) as threads:
        worker = EncoderWorker(registry.load("melstat"), threads, Metrics(), **limits)
        await worker.start()
        try:
            return await worker.embed_files([Upload(f"{at}.wav", data) for at, data in enumerate(FILES)])
        finally:
            await worker.stop()


def test_a_telephone_recording_has_a_vector():
    assert all(answer.vector is not None for answer in asyncio.run(answers()))


@pytest.mark.parametrize("fault", [ValueError(), KeyError("odd"), SystemError(), RecursionError(), MemoryError()])
@pytest.mark.parametrize("fails", [decoder_fails, preparation_fails])
def test_a_fault_of_any_class_is_of_one_file(fault, fails, monkeypatch):
    whole = asyncio.run(answers())
    fails(monkeypatch, round(0.77 * 16_000), fault)
    found = asyncio.run(answers())
    assert [answer.error is not None for answer in found] == [False, True, False, False]
    assert type(fault).__name__ in found[1].error.message
    for at in (0, 2, 3):
        assert np.array_equal(found[at].vector, whole[at].vector)


def test_two_requests_are_embedded_at_once_by_an_encoder_with_two_lanes():
    both = threading.Barrier(2, timeout=20)  # two calls that ran one after the other would time out here
    encoder = PacedBlocks(Pace(3, 2), hold=lambda number: both.wait())

    async def embed():
        limits = {"max_batch": 0, "max_queue": 8, "limits": DEFAULT_LIMITS, "short_side": None}
        with ThreadPoolExecutor(2) as threads:
            worker = EncoderWorker(encoder, threads, Metrics(), **limits)
            await worker.start()
            try:
                uploads = [Upload(f"{seed}.png", photo(seed)) for seed in range(6)]
                return await worker.embed_files(uploads)
            finally:
                await worker.stop()

    found = asyncio.run(embed())
    assert encoder.batches == [3, 3]
    for seed, answer in enumerate(found):
        inputs = encoder.prepare(decode(photo(seed)).image)[None]
        np.testing.assert_array_equal(answer.vector, Blocks().embed(inputs).vectors[0])
