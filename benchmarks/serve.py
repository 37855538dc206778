"""How fast an answer is, and what the classification service costs: latency, start, memory, imports.

    python -m benchmarks.serve

Trains on photos of the demo (package elpv-dataset), starts both services and asks with one client.
"""

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import machine, photo, spread, verdict
from classifiers.registry import Registry
from classifiers.train import train
from embedder import registry
from services import demo
from services.backfill import backfill
from services.client import Client
from services.errors import RemoteProblem, ServiceDown
from services.ingest import ingest
from services.processes import free_ports, running
from services.settings import Settings
from store import Store

MOST_MILLISECONDS, MOST_START, MOST_START_BARE, MOST_MB = 25, 4.0, 2.0, 350


def fill(settings: Settings) -> None:
    store = Store.open(settings.store)
    ingest(store, demo.items(demo.cells()[:400]), task=demo.TASK)
    backfill(store, registry.load("lite0", backend=settings.backend, cache_dir=settings.cache))
    train(store, Registry(settings.heads), task=demo.TASK, encoders=["lite0"], name="defective")


def latencies(url: str, image: bytes, requests: int) -> list[float]:
    """Milliseconds of each request, one client, one connection."""
    times = []
    with Client(url) as client:
        for _ in range(20 + requests):
            start = time.perf_counter()
            client.classify([image], heads=["defective"])
            times.append((time.perf_counter() - start) * 1e3)
    return times[20:]


def start_up(settings: Settings, embedding_url: str) -> tuple[float, float]:
    """Seconds from starting the classification service to ready, and its resident memory then, in MB."""
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
                ids = [id_ for id_, _ in Store.open(own.store).features("lite0").search([0.5] * 1280, 1)]
                client.classify_ids(ids, heads=["defective"])
        return seconds, _resident_mb(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_ready(client: Client) -> None:
    while True:
        try:
            client.ready()
            return
        except (ServiceDown, RemoteProblem):
            time.sleep(0.01)


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as folder:
        ports = free_ports(2)
        settings = Settings(
            store=str(Path(folder) / "headwater.db"),
            heads=Path(folder) / "heads",
            embedding_port=ports[0],
            classification_port=ports[1],
            log_level="ERROR",
        )
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            other.submit(fill, settings).result()  # not here: threads that an engine leaves behind slow the client
        with running(settings) as services:
            times = latencies(services.classification_url, photo(), options.requests)
            bare = settings.model_copy(update={"store": ""})
            starts = [start_up(settings, services.embedding_url) for _ in range(options.starts)]
            bare_starts = [start_up(bare, services.embedding_url) for _ in range(options.starts)]
    p95 = statistics.quantiles(times, n=20)[-1]
    print(f"POST /classify, one 640×480 JPEG, one client: {spread(times, 'ms', 1)}, p95 {p95:.1f} ms")
    print(verdict("p50", statistics.median(times), MOST_MILLISECONDS, "ms", at_least=False))
    for name, found, most in (("with a store", starts, MOST_START), ("without a store", bare_starts, MOST_START_BARE)):
        seconds, memory = statistics.median(s for s, _ in found), max(mb for _, mb in found)
        print(verdict(f"start to ready {name}", seconds, most, "s", at_least=False))
        print(verdict(f"resident memory {name}", memory, MOST_MB, "MB", at_least=False))


if __name__ == "__main__":
    main()
