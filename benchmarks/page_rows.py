"""Speed of the page's data: GET /v1/rows and GET /v1/overview, asked of a classification service on loopback.

    python -m benchmarks.page_rows --rows 10000 --dim 1280
    python -m benchmarks.page_rows --rows 100000 --dim 512

Run it alone on the machine. A first request is the first of its kind to a service that has answered others before; it
computes, and later ones get what is kept. The store has three tasks, and a gaussian head with outlier percentiles and
prediction sets. Required: at most 300 ms for the first answers of the head at 10,000 × 1,280 vectors, and at most
100 ms for the first overview at 100,000 assets.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.measure import machine, spread, timed, verdict
from benchmarks.predict import TRAINED, fill
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from services.client import Client
from services.processes import free_ports, url_of
from services.settings import Settings
from services.web.errors import RemoteProblem, ServiceDown
from store import Label, Store
from store.rows import strings

HEAD = ("id", "prediction", "probability", "margin", "outlier", "set_size")

QUERIES = {
    "ids": {"columns": ["id", "modality"]},
    "labels of a task": {"task": "t", "columns": ["label", "split"]},
    "answers of a head": {"head": "h", "columns": HEAD},
    "PCA": {"encoder": "made", "columns": ["x", "y"]},
    "LDA": {"encoder": "made", "task": "t", "axes": "lda", "columns": ["x", "y"]},
    "everything": {"task": "t", "encoder": "made", "head": "h"},
}
REQUIRED = {("answers of a head", 10_000, 1280): 0.3, ("overview", 100_000, 512): 0.1}
"""Request, rows and columns → most seconds of the first answer."""


@contextmanager
def service(settings: Settings) -> Iterator[tuple[Client, int]]:
    """Yield a client of a new classification service, and the id of its process."""
    command = [sys.executable, "-m", "services.cli", "serve", "classification"]
    process = subprocess.Popen(command, env=settings.environment())
    try:
        with Client(url_of(settings.host, settings.classification_port), timeout=600.0) as client:
            while True:
                try:
                    client.ready()
                    break
                except (ServiceDown, RemoteProblem):
                    time.sleep(0.1)
            client.heads()
            yield client, process.pid
    finally:
        process.terminate()
        process.wait()


def memory(pid: int) -> float:
    """Return the largest memory of a process so far in MB, from Linux's /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def made(folder: Path, rows: int, dim: int, classes: int) -> Settings:
    """Fill a store, train a head, and return the settings of a service for both."""
    store, registry = Store.open(f"{folder}/headwater.db"), Registry(folder / "heads")
    fill(store, rows, dim, classes)
    ids = strings(store.assets.ids())
    for task in ("u", "v"):
        store.labels.put(task, (Label(id_, [f"{task} {row % 7}"]) for row, id_ in enumerate(ids[:TRAINED])))
    train(store, registry, task="t", encoders=["made"], kind="gaussian", name="h")
    [port] = free_ports(1)
    return Settings(
        store=store.uri, heads=registry.root, jobs=folder / "jobs", classification_port=port, log_level="ERROR"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    print(machine(), flush=True)
    first: dict[str, list[float]] = {name: [] for name in ("overview", *QUERIES)}
    later: dict[str, list[float]] = {name: [] for name in first}
    with tempfile.TemporaryDirectory() as folder:
        settings = made(Path(folder), args.rows, args.dim, args.classes)
        for _ in range(args.repeat):
            for name in first:
                with service(settings) as (client, pid):
                    ask = client.overview if name == "overview" else lambda: client.rows(**QUERIES[name])  # noqa: B023
                    client.rows(columns=["modality"]) if name == "overview" else client.overview()
                    before = memory(pid)
                    first[name] += timed(ask, 1)
                    later[name] += timed(ask, 5)
                    after = memory(pid)
            print(f"memory of the service: {before:.0f} MB before everything, {after:.0f} MB at most", flush=True)
    for name in first:
        print(f"{args.rows:,} × {args.dim}, {name}: first {spread(first[name])}, later {spread(later[name])}")
        if limit := REQUIRED.get((name, args.rows, args.dim)):
            print(verdict(f"first {name}", float(np.median(first[name])), limit, "s", at_least=False))


if __name__ == "__main__":
    main()
