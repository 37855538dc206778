"""From JPEG bytes in the store to vectors in the store, and over HTTP, each beside its slowest stage alone.

`backfill ÷ slowest alone` compares the whole with the slowest of three stages that are measured alone: the forward pass
on pixels in memory, decoding and resizing on all cores, and writing vectors.
"""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.feature_store import spec
from benchmarks.gpu import part
from benchmarks.gpu.forward import overlapped
from benchmarks.gpu.part import Run
from benchmarks.gpu.photos import photos
from benchmarks.load import Ask, client, latencies
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import probe, registry
from embedder.encoder import JPEG_BATCH, JPEG_BATCHES, Encoder, jpeg_decoder, pace_of
from embedder.media import Limits
from embedder.media.image import decode
from services.jobs.backfill.local import backfill, open_features
from services.jobs.ingest import ingest
from services.processes import free_ports, running
from services.settings import Settings
from store import Item, Store, asset_id

DOLLARS_AN_HOUR = 3.5
"""Assumed price of one GPU."""


def models(small: bool) -> dict[str, tuple[str, int]]:
    """Return the encoders in the order of their worth: name → (open_clip's name or empty, photos)."""
    if small:
        return {"lite0": ("", 60)}
    return {
        "ViT-L/14": ("ViT-L-14", 8192),
        "lite0": ("", 24576),
        "ViT-B/32": ("ViT-B-32", 24576),
        "ViT-H/14": ("ViT-H-14", 8192),
    }


def encoder_name(model: str, name: str, folder: Path, device: torch.device) -> str:
    """Return the name to load. A checkpoint with random weights is made first, unless the encoder brings its own."""
    if not model:
        return name
    import open_clip
    from safetensors.torch import save_file

    path = folder / f"{model}.safetensors"
    if not path.exists():
        with device:
            made = open_clip.create_model(model, pretrained=None)
        save_file({key: value.cpu().contiguous() for key, value in made.state_dict().items()}, path)
    return f"openclip/{model}@{path}"


def measure(run: Run) -> None:
    with TemporaryDirectory() as folder:
        for name, (model, count) in models(run.small).items():
            if run.clock.left > (0 if run.small else 25) and not run.clock.measured(encoder=name, what="end"):
                run.clock.forget(encoder=name)
                one(run, name, encoder_name(model, name, Path(folder), run.device), count, Path(folder))
                run.clock.add(encoder=name, what="end")


def stored(folder: Path, files: Sequence[bytes]) -> Store:
    """Return a store of these photos. Encoders that embed equally many share it, each with a table of its own."""
    path = folder / f"store-{len(files)}"
    if path.exists():
        return Store.open(path)
    store = Store.open(path)
    ingest(store, labelled(files), task="halves")
    return store


def one(run: Run, name: str, full_name: str, count: int, folder: Path) -> None:
    """Measure one encoder: its stages alone, a backfill, and the services."""
    files = photos(count, "640×480")
    store = stored(folder, files)
    settings = Settings(
        store=str(folder / f"store-{count}"),
        heads=folder / "heads" / name.replace("/", "-"),
        cache=folder / "cache",
        encoders=(full_name,),
        max_queue=1024,
        log_level="ERROR",
    )
    start = time.perf_counter()
    encoder = registry.load(full_name, backend=settings.backend, cache_dir=settings.cache)
    features = open_features(store, encoder)
    run.clock.add(encoder=name, what="load, compile and probe", value=time.perf_counter() - start, unit="s")
    decoding, where = decode_rate(encoder, files[:4096], settings.limits)
    alone = {
        "forward alone": forward_rate(encoder, run.small),
        "decode alone": decoding,
        "write alone": write_rate(folder, features.spec.dim, run.small),
    }
    for what, rate in alone.items():
        note = {"note": where} if rate == decoding else {}
        run.clock.add(encoder=name, what=what, value=rate, unit="images/s", **note)
    start = time.perf_counter()
    done = backfill(store, encoder, batch=settings.max_batch, limits=settings.limits)
    rate = done.done / (time.perf_counter() - start)
    stage, share = done.profile.limit(done.seconds)
    pace = pace_of(encoder, "image")
    note_of_backfill = f"{encoder.backend}, {pace.rows} rows, {stage} busy {share:.0%}"
    run.clock.add(encoder=name, what="backfill", value=rate, unit="images/s", note=note_of_backfill)
    run.clock.add(encoder=name, what="backfill ÷ slowest alone", value=rate / min(alone.values()), unit="")
    if run.device.type == "cuda":
        dollars, price = DOLLARS_AN_HOUR / 3600 / rate * 1e6, f"at $ {DOLLARS_AN_HOUR} an hour"
        run.clock.add(encoder=name, what="a million images", value=dollars, unit="$", note=price)
    del encoder
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    services(run, name, settings, store, files, alone["forward alone"])


def labelled(files: Sequence[bytes]) -> Iterator[Item]:
    for number, data in enumerate(files):
        yield Item(
            uri=f"photo-{number}.jpg", data=data, labels=["ab"[number % 2]], split=("train", "val", "test")[number % 3]
        )


def forward_rate(encoder: Encoder, small: bool) -> float:
    """Return the images/s of the encoder on pixels in memory, in batches of the size and number that suit it."""
    assert encoder.spec.image is not None
    size, pace = encoder.spec.image.size, pace_of(encoder, "image")
    pixels = np.random.default_rng(0).integers(0, 256, (pace.rows, size, size, 3), dtype=np.uint8)
    times = overlapped(lambda: encoder.embed(pixels), pace.lanes, 0.5 if small else 2)
    return pace.rows / statistics.median(times)


def decode_rate(encoder: Encoder, files: Sequence[bytes], limits: Limits) -> tuple[float, str]:
    """Return the images/s of decoding and resizing as a backfill does it, and what does it."""
    side, jpegs = probe.jpeg_side(encoder), jpeg_decoder(encoder, limits)

    def on_device(some: Sequence[bytes]) -> None:
        assert jpegs is not None
        rows = jpegs.rows([file for file in map(jpegs.take, some) if file])
        if any(row is None for row in rows) or len(rows) < len(some):
            raise RuntimeError("not all photos were decoded on the device")

    start = time.perf_counter()
    if jpegs:
        batches = [files[first : first + JPEG_BATCH] for first in range(0, len(files), JPEG_BATCH)]
        with ThreadPoolExecutor(JPEG_BATCHES) as lanes:
            list(lanes.map(on_device, batches[:4]))
            start = time.perf_counter()
            list(lanes.map(on_device, batches))
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda data: encoder.prepare(decode(data, short_side=side).image), files))
    return len(files) / (time.perf_counter() - start), "on the GPU" if jpegs else "on all cores"


def write_rate(folder: Path, dim: int, small: bool) -> float:
    """Return the rows/s of writing vectors of `dim` numbers into a new table, in commits as large as a backfill's."""
    rows, commit = 1024 if small else 32_768, 512
    store = Store.open(folder / f"written-{dim}")
    features = store.ensure_features("written", spec(dim, "written"), np.eye(1, dim, dtype=np.float32))
    ids = [asset_id(str(number).encode()) for number in range(rows)]
    vectors = np.random.default_rng(0).standard_normal((rows, dim), np.float32)
    start = time.perf_counter()
    for low in range(0, rows, commit):
        features.put(ids[low : low + commit], vectors[low : low + commit])
    return rows / (time.perf_counter() - start)


def services(run: Run, name: str, settings: Settings, store: Store, files: Sequence[bytes], forward: float) -> None:
    """Measure ``POST /v1/embed`` and ``POST /classify``: one client's latency, and many clients' images/s."""
    train(store, Registry(settings.heads), task="halves", encoders=[settings.encoders[0]], name="halves")
    ports = free_ports(2)
    own = settings.model_copy(update={"embedding_port": ports[0], "classification_port": ports[1]})
    loads = ((4, 1), (2, 4)) if run.small else ((32, 1), (256, 1), (16, 32))
    with running(own) as started, load_generators() as pool:
        urls = {
            "/classify": f"{started.classification_url}/classify?head=halves",
            "/v1/embed": f"{started.embedding_url}/v1/embed",
        }
        for path, url in urls.items():
            ask = Ask.post(url, files={"images": ("x.jpg", files[0])})
            median = statistics.median(latencies(ask, 20 if run.small else 150))
            run.clock.add(encoder=name, what=f"{path}, 1 client, p50", value=median, unit="ms")
            for clients, images in loads:
                if run.clock.left < 5:
                    continue
                ask = Ask.post(url, files=[("images", (f"{i}.jpg", files[i])) for i in range(images)])
                rate = images * throughput(pool, ask, clients, 0.5 if run.small else 2.5)
                what = f"{path}, {clients} clients" + (f", {images} photos a request" if images > 1 else "")
                note = f"{rate / forward:.2f} of forward"
                run.clock.add(encoder=name, what=what, value=rate, unit="images/s", note=note)


@contextmanager
def load_generators() -> Iterator[ProcessPoolExecutor]:
    """Yield processes that send requests: one process could not keep a fast service busy."""
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 2) // 4), get_context("spawn")) as pool:
        yield pool


def throughput(pool: ProcessPoolExecutor, ask: Ask, clients: int, seconds: float) -> float:
    """Return the answers/s of concurrent clients, shared out among the processes."""
    processes = min(clients, pool._max_workers)
    shares = [clients // processes + (number < clients % processes) for number in range(processes)]
    list(pool.map(_clients, repeat(ask), shares, repeat(seconds / 5)))
    start = time.perf_counter()
    done = sum(pool.map(_clients, repeat(ask), shares, repeat(seconds)))
    return done / (time.perf_counter() - start)


def _clients(ask: Ask, clients: int, seconds: float) -> int:
    """Return the number of answers that clients got who went on sending for some seconds."""
    end = time.perf_counter() + seconds

    def one(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            done += len(client(ask, 8))
        return done

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(one, range(clients)))


if __name__ == "__main__":
    part.main("endtoend", __doc__, measure)
