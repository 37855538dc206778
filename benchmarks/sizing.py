"""Memory at rest and of decoding, and bytes on disk: the figures with which docs/operations.md sizes a machine.

    python -m benchmarks.sizing

The benchmark stores and embeds the photos of the demo (package elpv-dataset), trains two heads, and starts both
services. Each decoding runs in a process of its own.
"""

import io
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from PIL import Image

from benchmarks.measure import machine
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import registry
from embedder.media import Limits, decode
from embedder.spec import Modality
from services.cli import demo_photos
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.processes import free_ports, running
from services.settings import Settings
from store import Store

MIB = 2**20
PIXELS, SECONDS, RATE = 8000, 600, 16_000
KINDS = ("gaussian", "linear")


def resident(pid: int, field: str = "VmRSS") -> float:
    """Return the resident memory of a process in MiB, from Linux's /proc; with VmHWM its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def picture() -> bytes:
    """Return a PNG of 64 million pixels."""
    out = io.BytesIO()
    Image.new("RGB", (PIXELS, PIXELS)).save(out, "PNG")
    return out.getvalue()


def sound() -> bytes:
    """Return a FLAC of ten minutes."""
    out = io.BytesIO()
    soundfile.write(out, np.random.default_rng(0).normal(0, 0.1, SECONDS * RATE), RATE, format="FLAC")
    return out.getvalue()


def growth(data: bytes, modality: Modality, name: str, times: int, threads: int) -> float:
    """Return by how many MiB the peak memory grows when `data` is made the input of an encoder, `times` times."""
    encoder = registry.load(name)

    def once(_: int) -> None:
        encoder.prepare(decode(data, modality, Limits()))

    before = resident(os.getpid(), "VmHWM")
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(once, range(times)))
    return resident(os.getpid(), "VmHWM") - before


def apart(run: Callable[..., float], *arguments: object) -> float:
    """Return what a function returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def fill(settings: Settings) -> Store:
    store, encoder = Store.open(settings.store), registry.load("lite0", cache_dir=settings.cache)
    ingest(store, demo_photos.items(demo_photos.cells()), task=demo_photos.TASK)
    backfill(store, encoder)
    for kind in KINDS:
        train(store, Registry(settings.heads), task=demo_photos.TASK, encoders=["lite0"], kind=kind, name=kind)
    return store


def disk(settings: Settings, store: Store) -> None:
    rows = len(store.assets.ids())
    content = sum(len(cell.path.read_bytes()) for cell in demo_photos.cells())
    print(f"{rows:,} photos of {content / rows:,.0f} bytes in the mean")
    for table in sorted(Path(settings.store).glob("*.lance")):
        print(f"  {table.name}: {size(table) / rows:,.0f} bytes for each photo")
    for kind in KINDS:
        print(f"  a head of kind {kind}: {size(Path(settings.heads) / kind) / 1e6:.1f} MB")


def memory(settings: Settings) -> None:
    with running(settings) as started:
        for name, process in started.processes.items():
            print(f"at rest, {name} service: {resident(process.pid):.0f} MiB")
    for what, data, modality, encoder, times in (
        ("one PNG of 64 million pixels", picture(), "image", "lite0", 1),
        ("four at once on two threads", picture(), "image", "lite0", 4),
        ("a sound of ten minutes", sound(), "audio", "melstat", 1),
    ):
        print(f"decoding {what}: {apart(growth, data, modality, encoder, times, min(times, 2)):.0f} MiB")


def main() -> None:
    print(machine())
    with TemporaryDirectory() as folder:
        ports = free_ports(2)
        settings = Settings(
            store=f"{folder}/headwater.db",
            heads=Path(folder) / "heads",
            encoders=("lite0", "melstat"),
            embedding_port=ports[0],
            classification_port=ports[1],
            log_level="ERROR",
        )
        disk(settings, fill(settings))
        memory(settings)


if __name__ == "__main__":
    main()
