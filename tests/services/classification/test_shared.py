"""Requests share calls of the embedding service, and each gets what it would get alone. The test answers the calls."""

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
from helpers.collector import collecting
from hypothesis import given, settings
from hypothesis import strategies as st

from services.classification import shared
from services.classification.shared import BYTES, ITEMS, SharedEmbedding
from services.web import tracing
from services.web.admission import SMALL, factor
from services.web.errors import RemoteProblem, ServiceDown
from services.web.media_types import PACKED
from services.web.packed import pack_files
from services.web.schemas import Problem
from services.web.wire import Upload, Vectored, VectoredBatch

FAULT = RemoteProblem(422, "bad_request", "its header")
PHOTO = b"\xff\xd8\xff"
"""First bytes of a JPEG."""


def photo(number: int, size: int = 16) -> Upload:
    return Upload(f"{number}.jpg", PHOTO + number.to_bytes(4, "little") + bytes(size))


def number_of(file: Upload) -> int:
    return int.from_bytes(file.data[len(PHOTO) :][:4], "little")


def item(file: Upload) -> Vectored:
    """Return the answer for a file, which depends on all its bytes; every fifth photo cannot be read."""
    if number_of(file) % 5 == 4:
        return Vectored(None, file.name, error=Problem(code="bad_media", message=f"{file.name} is broken"))
    digest = hashlib.sha256(file.data).digest()
    return Vectored(digest.hex(), file.name, np.frombuffer(digest, np.uint8).astype(np.float32))


def same(found: VectoredBatch, files: Sequence[Upload]) -> bool:
    pairs = zip(found.items, map(item, files), strict=True)
    return all(
        (a.id, a.name, a.error) == (b.id, b.name, b.error) and np.array_equal(a.vector, b.vector) for a, b in pairs
    )


class Service:
    """An embedding service. Each call waits until the test answers it, unless `open`.

    Attributes:
        calls: the files of each call, and what the call will fail with, if the test says so.
        cancelled: numbers of the calls that were cancelled.
    """

    def __init__(self, *, is_open: bool = False) -> None:
        self.calls: list[list[Upload]] = []
        self.keys: list[tuple[object, ...]] = []
        self.refuses: Any = lambda files: None
        self.cancelled: list[int] = []
        self._free: list[asyncio.Event] = []
        self._open = is_open

    async def embed(self, files, /, *, encoder, tokens=False, modality=None) -> VectoredBatch:
        number, event = len(self.calls), asyncio.Event()
        self.calls.append(list(files))
        self.keys.append((encoder, tokens, modality))
        self._free.append(event)
        try:
            with tracing.call("POST", "/v1/embed"):
                await (asyncio.sleep(0) if self._open else event.wait())
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if error := self.refuses(files):
            raise error
        return VectoredBatch(encoder, "f" * 64, [item(file) for file in files])

    def answer(self, number: int) -> None:
        self._free[number].set()

    @property
    def sizes(self) -> list[int]:
        return [len(files) for files in self.calls]


def sharing(service: Service, most: int = 1) -> SharedEmbedding:
    return SharedEmbedding(service, most=most, count=lambda _: None)  # type: ignore[arg-type]


async def begin(embedding: SharedEmbedding, *files: Upload, **key: Any) -> "asyncio.Task[VectoredBatch]":
    """Begin a request and return when it waits for its answer."""
    task = asyncio.create_task(embedding.embed(files, **{"encoder": "lite0", **key}))
    await settle()
    return task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=20))


def test_a_lone_request_goes_at_once_and_those_after_it_go_together():
    async def test() -> None:
        service = Service()
        embedding = sharing(service, most=2)
        tasks = [await begin(embedding, photo(i)) for i in range(6)]
        assert service.sizes == [1, 1]
        service.answer(1)
        await settle()
        assert service.sizes == [1, 1, 4]
        assert same(await tasks[1], [photo(1)])
        service.answer(2)
        answers = await asyncio.gather(*tasks[2:])
        assert all(same(found, [photo(i)]) for i, found in enumerate(answers, 2))
        assert not tasks[0].done()
        service.answer(0)
        assert same(await tasks[0], [photo(0)])
        assert same(await _answered(embedding, service, 3), [photo(9)])
        assert service.sizes == [1, 1, 4, 1]

    async def _answered(embedding: SharedEmbedding, service: Service, number: int) -> VectoredBatch:
        task = await begin(embedding, photo(9))
        service.answer(number)
        return await task

    run(test())


def test_requests_for_other_vectors_and_other_files_than_photos_have_calls_of_their_own():
    sound, broken, large = b"RIFF\0\0\0\0WAVE", b"no photo", PHOTO + bytes(BYTES)
    others = [Upload("a", each) for each in (sound, broken, large)]
    keys = [{"encoder": "lite1"}, {"tokens": True}, {"modality": "image"}]

    async def test() -> None:
        service = Service()
        embedding = sharing(service)
        await begin(embedding, photo(0))
        for key in keys:
            await begin(embedding, photo(1), **key)
        for file in others:
            await begin(embedding, file)
        await begin(embedding, *(photo(i) for i in range(ITEMS + 1)))
        assert service.sizes == [1] * 7 + [ITEMS + 1]
        await begin(embedding, photo(2))
        await begin(embedding, photo(2), **keys[0])
        assert len(service.calls) == 8
        for number in range(8):
            service.answer(number)
        await settle()
        assert service.keys[8:] == [("lite0", False, None), ("lite1", False, None)]

    run(test())


def test_none_is_shared_if_the_setting_says_so():
    async def test() -> None:
        service = Service()
        embedding = sharing(service, most=0)
        for i in range(5):
            await begin(embedding, photo(i))
        assert service.sizes == [1] * 5

    run(test())


def test_a_shared_call_is_a_small_request_for_the_embedding_service():
    content_type = (b"content-type", PACKED.encode())
    for files in (
        [("n" * 200, bytes(BYTES // ITEMS - shared._HEADER))] * ITEMS,
        [("n" * 200, bytes(BYTES - shared._HEADER))],
    ):
        body = pack_files(files, encoder="f" * 64)
        assert len(body) * factor({"headers": [content_type]}) <= SMALL


def test_what_fills_a_call_does_not_wait():
    async def test() -> None:
        service = Service()
        embedding = sharing(service)
        for i in range(ITEMS + 2):
            await begin(embedding, photo(i))
        assert service.sizes == [1, ITEMS]
        large = [photo(i, BYTES // 2 - 3000) for i in range(5)]
        for file in large:
            await begin(embedding, file)
        assert service.sizes == [1, ITEMS, 2, 2]
        assert service.calls[2] == [photo(ITEMS + 1), large[0]]

    run(test())


def test_nobody_waits_long_for_a_call_that_hangs(monkeypatch):
    monkeypatch.setattr(shared, "PATIENCE", 0.05)

    async def test() -> None:
        service = Service()
        embedding = sharing(service)
        tasks = [await begin(embedding, photo(i)) for i in range(3)]
        assert service.sizes == [1]
        await asyncio.sleep(0.1)
        assert service.sizes == [1, 2]
        service.answer(1)
        answers = await asyncio.gather(*tasks[1:])
        assert all(same(found, [photo(i)]) for i, found in enumerate(answers, 1))

    run(test())


def test_a_caller_that_leaves_is_dropped_and_a_call_without_callers_is_cancelled():
    async def test() -> None:
        service = Service()
        embedding = sharing(service)
        tasks = [await begin(embedding, photo(i)) for i in range(4)]
        tasks[1].cancel()  # while it waits
        service.answer(0)
        await settle()
        assert service.calls[1] == [photo(2), photo(3)]
        tasks[2].cancel()  # while its call is under way
        await settle()
        assert not service.cancelled
        later = [await begin(embedding, photo(i)) for i in (5, 6)]
        tasks[3].cancel()  # the last one
        await settle()
        assert service.cancelled == [1]
        assert service.calls[2] == [photo(5), photo(6)]
        service.answer(2)
        assert same(await later[1], [photo(6)])

    run(test())


def test_a_stopped_client_leaves_nobody_waiting():
    class Closed(Service):
        async def aclose(self) -> None:
            self.closed = True

    async def test() -> None:
        service = Closed()
        embedding = sharing(service)
        tasks = [await begin(embedding, photo(i)) for i in range(3)]
        service.answer(0)
        await settle()
        waiting = await begin(embedding, photo(3))
        await embedding.aclose()
        assert service.closed
        for task in (*tasks[1:], waiting):
            with pytest.raises(asyncio.CancelledError):
                await task

    run(test())


@pytest.mark.parametrize(
    ("error", "is_repeated"),
    [
        (RemoteProblem(413, "too_large", "too many"), True),
        (RemoteProblem(422, "bad_request", "its header"), True),
        (RemoteProblem(500, "internal", "a fault"), True),
        (RemoteProblem(502, "unexpected_answer", "a proxy"), True),
        (RemoteProblem(503, "queue_full", "later", 3.0), False),
        (RemoteProblem(404, "unknown_encoder", "none"), False),
        (ServiceDown("embedding", "http://x", "timed out"), False),
    ],
    ids=lambda each: each.code if isinstance(each, RemoteProblem) else None,
)
def test_a_fault_that_one_request_may_have_caused_is_that_ones_alone(error, is_repeated):
    async def test() -> None:
        service = Service(is_open=True)
        service.refuses = lambda files: error if photo(2) in files else None
        embedding = sharing(service)
        tasks = [asyncio.create_task(embedding.embed([photo(i)], encoder="lite0")) for i in range(4)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert same(found[0], [photo(0)])
        assert found[2] is error
        assert service.sizes == [1, 3] + [1] * 3 * is_repeated
        for i in (1, 3):
            assert same(found[i], [photo(i)]) if is_repeated else found[i] is error

    run(test())


def test_an_answer_with_too_few_items_is_given_to_nobody():
    class Short(Service):
        async def embed(self, files, /, **key) -> VectoredBatch:
            batch = await super().embed(files, **key)
            return VectoredBatch(batch.encoder, batch.fingerprint, batch.items[: 1 if len(files) == 1 else -1])

    async def test() -> None:
        service = Short(is_open=True)
        embedding = sharing(service)
        found = await asyncio.gather(*(embedding.embed([photo(i)], encoder="lite0") for i in range(4)))
        assert service.sizes == [1, 3, 1, 1, 1]
        assert all(same(each, [photo(i)]) for i, each in enumerate(found))

    run(test())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 255), min_size=1, max_size=40),
            st.sampled_from([10, 20_000, BYTES // 3]),
            st.sampled_from(["lite0", "lite1"]),
            st.integers(0, 6),
            st.booleans(),
        ),
        max_size=40,
    ),
    st.integers(1, 4),
    st.randoms(),
)
def test_each_request_gets_its_own_answer_whoever_is_beside_it(requests, most, random):
    """Requests of any number and size arrive, leave and are answered in any order. One photo fails every call."""
    poison = 77

    async def test() -> None:
        service = Service()
        service.refuses = lambda files: FAULT if any(number_of(file) == poison for file in files) else None
        embedding = sharing(service, most)

        async def ask(numbers, size, encoder, pause, leaves) -> None:
            for _ in range(pause):
                await asyncio.sleep(0)
            files = [photo(number, size) for number in numbers]
            sending = asyncio.create_task(embedding.embed(files, encoder=encoder))
            if leaves:
                await asyncio.sleep(0)
                sending.cancel()
                return
            try:
                found = await sending
            except RemoteProblem:
                assert poison in numbers
                return
            assert poison not in numbers
            assert found.encoder == encoder
            assert same(found, files)

        asking = asyncio.gather(*(ask(*each) for each in requests))
        answered: set[int] = set()
        while not asking.done():
            await asyncio.sleep(0)
            if ready := [i for i in range(len(service.calls)) if i not in answered]:
                answered.add(number := random.choice(ready))
                service.answer(number)
        await asking
        several = [files for files in service.calls if len(files) > ITEMS or sum(len(f.data) for f in files) > BYTES]
        alone = [[photo(n, size) for n in numbers] for numbers, size, *_ in requests]
        assert all(files in alone for files in several)

    run(test())


def test_each_request_keeps_its_trace_and_names_the_call_that_it_shares(monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'headwater[tracing]'")

    async def traced(made: tracing.Tracing, embedding: SharedEmbedding, number: int) -> str:
        span = made.request({"type": "http", "method": "POST", "headers": []})
        await embedding.embed([photo(number)], encoder="lite0")
        trace = tracing.trace_id()
        span.end("POST", "/classify", 200, str(number))
        return trace

    async def test(made: tracing.Tracing) -> list[str]:
        service = Service()
        embedding = sharing(service)
        tasks = []
        for i in range(3):
            tasks.append(asyncio.create_task(traced(made, embedding, i)))
            await settle()
        for number in range(2):
            service.answer(number)
            await settle()
        return await asyncio.gather(*tasks)

    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        made = tracing.make("any")
        traces = asyncio.run(test(made))
        made.stop()
        alone, first, second = (collector.wait(count, trace) for count, trace in zip((2, 3, 2), traces, strict=True))
    named = [{span.name: span for span in spans} for spans in (alone, first, second)]
    assert named[0]["POST /v1/embed"].parent == named[0]["POST /classify"].id
    assert named[1]["POST /v1/embed"].parent == named[1]["shared"].id
    assert named[1]["shared"].links == (named[2]["shared"].id,)
    assert named[2]["shared"].links == (named[1]["shared"].id,)
