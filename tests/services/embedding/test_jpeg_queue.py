"""Requests that come at once share batches of JPEGs; few JPEGs, and all other files, go the usual way."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.jpegs import Batched, jpeg
from helpers.pictures import photo

from embedder import registry
from embedder.media import DEFAULT_LIMITS
from services.embedding.worker import EncoderWorker
from services.web.metrics import Metrics
from services.web.wire import Upload, Vectored

JPEGS = [jpeg(200 + seed, 160, seed) for seed in range(24)]
MIXED = [JPEGS[0], photo(1), JPEGS[1][:-200], b"no image", JPEGS[2], jpeg(64, 48, mode="CMYK"), JPEGS[3]]


@pytest.fixture(scope="module")
def lite0(cache_dir):
    return registry.load("lite0", cache_dir=cache_dir)


def ask(encoder, requests: list[list[bytes]], jpegs=None) -> list[list[Vectored]]:
    """Send requests at once to a worker."""

    async def answers():
        limits = {"max_batch": 8, "max_queue": 64, "limits": DEFAULT_LIMITS, "short_side": None}
        with ThreadPoolExecutor(2) as threads:
            worker = EncoderWorker(encoder, threads, Metrics(), jpegs=jpegs, **limits)
            await worker.start()
            try:
                uploads = [[Upload(f"{at}", data) for at, data in enumerate(files)] for files in requests]
                return await asyncio.gather(*(worker.embed_files(some) for some in uploads))
            finally:
                await worker.stop()

    return asyncio.run(answers())


def agree(a: list[Vectored], b: list[Vectored]) -> bool:
    """True if answers have the same ids and errors, and vectors of the same direction."""
    return all(
        (x.id, x.name, x.error) == (y.id, y.name, y.error)
        and (
            x.vector is y.vector is None
            or x.vector @ y.vector > 0.999 * np.linalg.norm(x.vector) * np.linalg.norm(y.vector)
        )
        for x, y in zip(a, b, strict=True)
    )


def test_requests_at_once_share_batches(lite0):
    jpegs = Batched(lite0, fewest=2).jpeg_decoder()
    requests = [[data] for data in JPEGS]
    found, wanted = ask(lite0, requests, jpegs), ask(lite0, requests)
    assert all(map(agree, found, wanted))
    assert 16 <= jpegs.made <= 23  # the first is alone, so it goes the usual way
    assert len(jpegs.batches) < jpegs.made


def test_few_jpegs_go_the_usual_way(lite0):
    jpegs = Batched(lite0, fewest=5).jpeg_decoder()
    assert agree(ask(lite0, [JPEGS[:4]], jpegs)[0], ask(lite0, [JPEGS[:4]])[0])
    assert jpegs.batches == []
    ask(lite0, [JPEGS[:5]], jpegs)
    assert jpegs.made == 5


def test_a_mixed_request_has_the_answers_of_the_usual_way(lite0):
    jpegs = Batched(lite0).jpeg_decoder()
    [found], [wanted] = ask(lite0, [MIXED], jpegs), ask(lite0, [MIXED])
    assert agree(found, wanted)
    assert [each.error is None for each in found] == [True, True, False, False, True, True, True]
    assert jpegs.made == 3


def test_a_decoder_that_fails_leaves_every_file_to_the_usual_way(lite0, monkeypatch):
    jpegs = Batched(lite0).jpeg_decoder()
    monkeypatch.setattr("embedder.engines.jpegs.decoder.decode_jpegs", lambda *_: 1 / 0)
    [found], [wanted] = ask(lite0, [MIXED], jpegs), ask(lite0, [MIXED])
    assert agree(found, wanted)
    assert jpegs.made == 0


def test_the_decoder_counts_files_only_while_they_are_decoded(lite0):
    """Requests one after the other are each alone, however many there have been."""
    jpegs = Batched(lite0, fewest=2).jpeg_decoder()

    async def one_after_the_other():
        limits = {"max_batch": 8, "max_queue": 64, "limits": DEFAULT_LIMITS, "short_side": None}
        with ThreadPoolExecutor(2) as threads:
            worker = EncoderWorker(lite0, threads, Metrics(), jpegs=jpegs, **limits)
            await worker.start()
            for data in JPEGS[:4]:
                await worker.embed_files([Upload("a.jpg", data)])
            await worker.stop()

    asyncio.run(one_after_the_other())
    assert jpegs.batches == []
