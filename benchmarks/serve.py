"""Latency, throughput, processor time, start time and memory of the services, in two processes and in one.

    python -m benchmarks.serve                                       # lite0
    python -m benchmarks.serve --encoder vit-b-32 --infinity FOLDER  # ViT-B/32 beside Infinity, installed into FOLDER

The benchmark trains on photos of the demo (package elpv-dataset), starts both services, and sends requests with one
client, then with many; both ways of running the services take turns. The engine alone is measured before and after, in
its own process while no service runs.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import numpy as np

from benchmarks import infinity, standin
from benchmarks.load import Ask, latencies, throughput
from benchmarks.measure import Busy, machine, photo, processor_seconds, spread, timed, verdict
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import registry
from services.cli import demo_photos
from services.client import Client
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.processes import free_ports, running
from services.settings import Settings
from services.web.errors import RemoteProblem, ServiceDown
from store import Store

MOST_START, MOST_START_BARE, MOST_MB = 4.0, 2.0, 350
MOST_OVER_ENGINE, LEAST_OF_ENGINE = 12, {standin.NAME: 0.80}
MOST_OF_INFINITY, LEAST_TIMES_INFINITY = 0.45, 3.0
MOST_BESIDE_ENGINE, LEAST_BUSY = 5.0, 0.95
LEAST_PER_SECOND, MOST_P50 = {"lite0": 240}, {"lite0": 8.0}
WAYS = {"two processes": False, "one process": True}
BATCH, CELLS = 32, 200


@dataclass(frozen=True)
class Figures:
    """Figures of one server with one photo per request.

    Attributes:
        milliseconds: time of each answer with one client.
        per_second: answers/s with many clients.
        processor: milliseconds of processor time for a photo by process, with many clients.
        busy: share of the machine's processors that was used meanwhile.
    """

    milliseconds: list[float]
    per_second: float
    processor: Mapping[str, float] = field(default_factory=dict)
    busy: float = 0.0

    @property
    def p50(self) -> float:
        return statistics.median(self.milliseconds)


def fill(settings: Settings) -> None:
    """Embed photos of the demo and train a head on them."""
    [name] = settings.encoders
    store = Store.open(settings.store)
    encoder = registry.load(name, backend=settings.backend, cache_dir=settings.cache)
    ingest(store, demo_photos.items(demo_photos.cells()[:CELLS]), task=demo_photos.TASK)
    backfill(store, encoder)
    train(store, Registry(settings.heads), task=demo_photos.TASK, encoders=[name], name="defective")


@dataclass(frozen=True)
class Engine:
    """Figures of the engine alone: milliseconds for one photo, and in full batches photos/s and processor time."""

    milliseconds: float
    per_second: float
    processor: float


def engine_alone(settings: Settings, repeats: int) -> Engine:
    [name] = settings.encoders
    encoder = registry.load(name, backend=settings.backend, cache_dir=settings.cache)
    assert encoder.spec.image is not None
    size = encoder.spec.image.size
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    medians, processor = [], []
    encoder.embed(pixels)
    for rows in (1, BATCH):
        encoder.embed(pixels[:rows])
        start = time.process_time()
        medians.append(statistics.median(timed(lambda rows=rows: encoder.embed(pixels[:rows]), repeats)))
        processor.append((time.process_time() - start) / repeats / rows)
    return Engine(1e3 * medians[0], BATCH / medians[1], 1e3 * processor[1])


def mean(engines: Sequence[Engine]) -> Engine:
    return Engine(*(statistics.mean(column) for column in zip(*map(astuple, engines), strict=True)))


def measured(ask: Ask, options: argparse.Namespace, processes: Mapping[str, int] = MappingProxyType({})) -> Figures:
    """Return the figures of a server. `processes` are the names and ids of its processes."""
    milliseconds = latencies(ask, options.requests)
    processes = {"clients": os.getpid(), **processes}
    before, busy = {name: processor_seconds(pid) for name, pid in processes.items()}, Busy()
    per_second, share = throughput(ask, options.clients, options.each), busy.share()
    photos = options.clients * options.each
    used = {name: 1e3 * (processor_seconds(pid) - before[name]) / photos for name, pid in processes.items()}
    return Figures(milliseconds, per_second, used, share)


def median(rounds: Sequence[Figures]) -> Figures:
    """Return the figures of several rounds as one: all times of one client, and the medians of the others."""
    return Figures(
        [each for found in rounds for each in found.milliseconds],
        statistics.median(found.per_second for found in rounds),
        {name: statistics.median(found.processor[name] for found in rounds) for name in rounds[0].processor},
        statistics.median(found.busy for found in rounds),
    )


@contextmanager
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Yield a process to run engines in, because the threads that an engine leaves behind slow a client down."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def start_up(settings: Settings, embedding_url: str) -> tuple[float, float]:
    """Return the seconds until a started classification service is ready, and its resident memory in MB."""
    [port] = free_ports(1)
    own = settings.model_copy(update={"classification_port": port, "embedding_url": embedding_url})
    command = [sys.executable, "-m", "services.cli", "serve", "classification"]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=own.environment())
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            _wait_ready(client)
            seconds = time.perf_counter() - start
            client.classify([photo()], heads=["defective"])
            if own.store:
                client.classify_ids(Store.open(own.store).assets.ids()[:1].to_pylist(), heads=["defective"])
        return seconds, _resident_mb(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_ready(client: Client) -> None:
    while True:
        try:
            client.ready(needs=["media"])
            return
        except (ServiceDown, RemoteProblem):
            time.sleep(0.01)


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def tell_engine(engine: Engine) -> None:
    print(
        f"engine alone: {engine.milliseconds:.1f} ms for one photo, {engine.per_second:.0f} photos/s in batches of "
        f"{BATCH}, {engine.processor:.2f} ms of processor time for a photo"
    )


def tell(way: str, ours: Figures, engine: Engine, options: argparse.Namespace) -> None:
    clients, p95 = options.clients, statistics.quantiles(ours.milliseconds, n=20)[-1]
    print(f"\n{way}: POST /classify, one 640×480 JPEG")
    print(f"one client: {spread(ours.milliseconds, 'ms', 1)}, p95 {p95:.1f} ms")
    print(f"{clients} clients: {ours.per_second:.1f} photos/s")
    listed = ", ".join(f"{name} {milliseconds:.2f}" for name, milliseconds in ours.processor.items())
    print(f"processor time for a photo, ms: {listed}")
    services = sum(ours.processor.values()) - ours.processor["clients"]
    print(verdict("p50 − engine", ours.p50 - engine.milliseconds, MOST_OVER_ENGINE, "ms", at_least=False))
    print(verdict("beside the engine", services - engine.processor, MOST_BESIDE_ENGINE, "ms", at_least=False))
    print(verdict("processors used", ours.busy, LEAST_BUSY, "", at_least=True))
    if most := MOST_P50.get(options.encoder):
        print(verdict("p50", ours.p50, most, "ms", at_least=False))
    if least := LEAST_PER_SECOND.get(options.encoder):
        print(verdict(f"{clients} clients", ours.per_second, least, "photos/s", at_least=True))
    ratio = ours.per_second / engine.per_second
    if least := LEAST_OF_ENGINE.get(options.encoder):
        print(verdict(f"{clients} clients ÷ engine alone", ratio, least, "", at_least=True))
    else:
        print(f"{clients} clients ÷ engine alone: {ratio:.2f}")


def tell_beside(ours: Figures, theirs: Figures, clients: int) -> None:
    print(f"Infinity {infinity.VERSION}, one client: {spread(theirs.milliseconds, 'ms', 1)}")
    print(f"Infinity {infinity.VERSION}, {clients} clients: {theirs.per_second:.1f} photos/s")
    print(verdict("p50 ÷ Infinity's", ours.p50 / theirs.p50, MOST_OF_INFINITY, "", at_least=False))
    ratio = ours.per_second / theirs.per_second
    print(verdict(f"{clients} clients ÷ Infinity", ratio, LEAST_TIMES_INFINITY, "×", at_least=True))


def tell_starts(settings: Settings, embedding_url: str, starts: int) -> None:
    bare = settings.model_copy(update={"store": ""})
    for name, own, most in (("with a store", settings, MOST_START), ("without a store", bare, MOST_START_BARE)):
        found = [start_up(own, embedding_url) for _ in range(starts)]
        seconds, memory = statistics.median(s for s, _ in found), max(mb for _, mb in found)
        print(verdict(f"start to ready {name}", seconds, most, "s", at_least=False))
        print(verdict(f"resident memory {name}", memory, MOST_MB, "MB", at_least=False))


def run(options: argparse.Namespace, folder: Path) -> None:
    ports = free_ports(2)
    settings = Settings(
        store=str(folder / "headwater.db"),
        heads=folder / "heads",
        encoders=(standin.resolve(options.encoder, folder),),
        embedding_port=ports[0],
        classification_port=ports[1],
        log_level="ERROR",
    )
    with elsewhere() as other:
        other.submit(fill, settings).result()
        before = other.submit(engine_alone, settings, options.repeats).result()
    rounds: dict[str, list[Figures]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, one_process in WAYS.items():
            rounds[way].append(one_round(settings, options, one_process=one_process))
    with elsewhere() as other:
        after = other.submit(engine_alone, settings, options.repeats).result()
    ours = {way: median(found) for way, found in rounds.items()}
    tell_engine(engine := mean((before, after)))
    for way, found in ours.items():
        tell(way, found, engine, options)
    if options.encoder == "lite0":
        with running(settings) as services:
            tell_starts(settings, services.embedding_url, options.starts)
    if options.infinity:
        with infinity.serving(options.infinity, folder) as url:
            theirs = measured(infinity.ask(url, photo()), options)
        for way, found in ours.items():
            print(f"\n{way} beside Infinity")
            tell_beside(found, theirs, options.clients)


def one_round(settings: Settings, options: argparse.Namespace, *, one_process: bool) -> Figures:
    with running(settings, one_process=one_process) as services:
        ask = Ask.post(f"{services.classification_url}/classify?head=defective", files={"images": ("x.jpg", photo())})
        names: dict[int, list[str]] = {}
        for name, process in services.processes.items():
            names.setdefault(process.pid, []).append(name)
        return measured(ask, options, {" + ".join(each): pid for pid, each in names.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="lite0", help=f"or {standin.NAME}: ViT-B/32 with random weights")
    parser.add_argument("--requests", type=int, default=300, help="requests of the one client")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--each", type=int, default=20, help="requests of each of the many clients")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both ways in turn")
    parser.add_argument("--repeats", type=int, default=15, help="runs of the engine alone")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--infinity", type=Path, help="environment of Infinity; it is installed there if missing")
    options = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as folder:
        run(options, Path(folder))


if __name__ == "__main__":
    main()
