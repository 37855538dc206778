"""The worker of the embedding service: a file that fails, for whatever reason, fails alone."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.faults import decoder_fails, preparation_fails
from helpers.sounds import sound

from embedder import registry
from embedder.media import DEFAULT_LIMITS
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
