"""The memory of all files that are decoded at once is bounded, and small files do not wait behind large ones."""

import asyncio
import io
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from helpers.pictures import photo
from helpers.sounds import sound
from helpers.videos import film
from PIL import Image

from embedder import media, registry
from embedder.errors import BadMedia
from embedder.media import DEFAULT_LIMITS
from services.embedding import decode_memory, worker
from services.embedding.decode_memory import DecodeMemory, NoRoom
from services.embedding.worker import EncoderWorker
from services.web.metrics import Metrics
from services.web.wire import Upload

MEGABYTE = 2**20


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return file.getvalue()


class Meter:
    """Counts the bytes of the files that are decoded at the same time."""

    def __init__(self) -> None:
        self.now, self.peak, self.lock = 0, 0, threading.Lock()

    def decode(self, real: Callable[..., object], data: bytes, *arguments: object) -> object:
        sizes = []
        media.decode(data, reserve=sizes.append)
        found = real(data, *arguments)
        with self.lock:
            self.now += sizes[0]
            self.peak = max(self.peak, self.now)
        time.sleep(0.01)
        with self.lock:
            self.now -= sizes[0]
        return found


@pytest.fixture
def meter(monkeypatch):
    meter, real = Meter(), worker.decode
    monkeypatch.setattr(worker, "decode", lambda *arguments: meter.decode(real, *arguments))
    monkeypatch.setattr(decode_memory, "SMALL", MEGABYTE // 4)
    return meter


async def embed(memory: DecodeMemory, requests: list[list[bytes]], leaving: set[int] = frozenset()) -> list:
    """Send the requests at once to a worker with 16 threads, and cancel some of them soon after."""
    limits = {"max_batch": 8, "max_queue": 512, "limits": DEFAULT_LIMITS, "short_side": None}
    with ThreadPoolExecutor(16) as threads:
        found = EncoderWorker(registry.load("lite0"), threads, Metrics(), memory=memory, **limits)
        await found.start()
        try:
            files = ([Upload("x", data) for data in request] for request in requests)
            tasks = [asyncio.create_task(found.embed_files(each)) for each in files]
            await asyncio.sleep(0.05 if leaving else 0)
            for i in leaving:
                tasks[i].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await found.stop()


LARGE, LARGE_BYTES = png(256, 512), 256 * 512 * 8


def test_64_large_images_on_16_threads_stay_within_the_memory(meter):
    memory = DecodeMemory(3 * LARGE_BYTES)
    answers = asyncio.run(embed(memory, [[LARGE]] * 64))
    assert all(item.vector is not None for [item] in answers)
    assert LARGE_BYTES <= meter.peak <= memory.limit
    assert memory.used == 0


def test_without_the_limit_they_do_not(meter):
    asyncio.run(embed(DecodeMemory(2**40), [[LARGE]] * 64))
    assert meter.peak > 3 * LARGE_BYTES


def test_a_file_larger_than_all_memory_is_decoded_alone(meter):
    memory = DecodeMemory(LARGE_BYTES // 2)
    answers = asyncio.run(embed(memory, [[LARGE, photo(1), LARGE], [LARGE]]))
    assert all(item.vector is not None for items in answers for item in items)
    assert meter.peak < 2 * LARGE_BYTES


def test_small_files_do_not_wait():
    async def ask() -> float:
        memory = DecodeMemory(100)
        with suppress(NoRoom):
            memory.share().reserve(100 * MEGABYTE)
        start = time.perf_counter()
        [[item]] = await embed(memory, [[photo(1)]])
        assert item.vector is not None
        return time.perf_counter() - start

    assert asyncio.run(ask()) < 20  # it would wait for ever


def test_whoever_leaves_gives_everything_back(meter):
    memory = DecodeMemory(2 * LARGE_BYTES)
    leaving = set(random.Random(0).sample(range(40), 20))
    answers = asyncio.run(embed(memory, [[LARGE]] * 40, leaving))
    assert all(isinstance(answers[i], asyncio.CancelledError) or answers[i][0].vector is not None for i in leaving)
    assert all(answers[i][0].vector is not None for i in set(range(40)) - leaving)
    assert memory.used == 0
    assert not memory._waiting


def test_those_that_wait_have_their_turn_in_order():
    async def run() -> list[int]:
        memory, order = DecodeMemory(100 * MEGABYTE), []
        assert memory.take(90 * MEGABYTE)

        async def wait(i: int, size: int) -> None:
            await memory.wait(size)
            order.append(i)
            memory.give_back(size)

        tasks = [asyncio.create_task(wait(i, size * MEGABYTE)) for i, size in enumerate([80, 40, 99, 50])]
        await asyncio.sleep(0)
        assert not memory.take(decode_memory.SMALL)  # nobody overtakes
        assert memory.take(5)
        memory.give_back(5)
        memory.give_back(90 * MEGABYTE)
        await asyncio.gather(*tasks)
        assert memory.used == 0
        return order

    assert asyncio.run(run()) == [0, 1, 2, 3]


def peak(run: Callable[[], object]) -> float:
    """Return the growth of the resident memory while `run` runs, in bytes."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    kept = run()
    del kept
    return status("VmHWM") - before


def status(name: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def encoded(kind: str, size: tuple[int, int], mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


MAKERS = {
    "jpeg": (lambda: encoded("JPEG", (4000, 4000)), "image"),
    "png": (lambda: png(4000, 4000), "image"),
    "png with alpha": (lambda: png(4000, 4000, "RGBA"), "image"),
    "webp with alpha": (lambda: encoded("WEBP", (4000, 4000), "RGBA"), "image"),
    "palette with alpha": (lambda: encoded("GIF", (4000, 4000), "RGBA"), "image"),
    "webp": (lambda: encoded("WEBP", (4000, 4000)), "image"),
    "avif": (lambda: encoded("AVIF", (4000, 4000)), "image"),
    "tiff": (lambda: encoded("TIFF", (4000, 4000)), "image"),
    "grey": (lambda: png(4000, 4000, "I;16"), "image"),
    "npy": (lambda: npy(np.zeros((4000, 4000), np.float64)), "depth"),
    "thermal": (lambda: png(4000, 4000, "I;16"), "thermal"),
    "mp4": (lambda: film("mp4", 3, width=1920, height=1080), "video"),
    "wav": (lambda: sound(1, rate=44_100, seconds=90.0), "audio"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_decoders_take_no_more_than_they_reserve(name):
    make, modality = MAKERS[name]
    data, sizes = make(), []

    def run() -> object:
        found = media.decode(data, modality, reserve=sizes.append)
        return found.frames([0, 2], lambda image: image) if modality == "video" else found

    assert peak(run) <= sizes[0] + 8 * MEGABYTE
    assert sizes[0] > 2 * MEGABYTE


def test_freed_pixels_go_back_to_the_system():
    """Each of several threads decodes a large image after the other. Nothing of it stays with the thread."""
    data = png(4000, 8000)
    media.decode(data)
    before = status("VmRSS")
    with ThreadPoolExecutor(4) as threads:
        for _ in range(8):
            threads.submit(lambda: media.decode(data).size).result()
            list(threads.map(time.sleep, [0.01] * 4))  # so that each thread has its turn
    assert status("VmRSS") - before < 64 * MEGABYTE


def test_a_reservation_may_refuse_a_file():
    def refuse(size: int) -> None:
        raise NoRoom(size)

    for data, modality in ((photo(1), "image"), (sound(1), "audio"), (film("mp4", 3), "video")):
        with pytest.raises(NoRoom):
            media.decode(data, modality, reserve=refuse)
    assert issubclass(NoRoom, BadMedia)
