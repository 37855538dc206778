"""Seconds from a correction to a new version of a head, over HTTP: train, publish and compare with the version before.

    python -m benchmarks.learn                                # 10,000 × 1,280, kind gaussian
    python -m benchmarks.learn --rows 100000 --kind linear

Run it alone on the machine. The vectors are drawn from Gaussian classes; a tenth of the training rows has a wrong label
at first. Before each training some of them are corrected. The first training of a service starts the process that
trains, so it has a line of its own. Required, at the default size: at most 2 s in a warm process, all included.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from benchmarks.measure import machine, spread, verdict
from embedder.spec import imported_spec
from services.client import Client
from services.processes import free_ports, url_of
from services.settings import Settings
from store import Label, Store
from store.bulk import Bulk

MOST_SECONDS = 2.0
WRONG, CORRECTED = 0.1, 50
"""Share of the training rows with a wrong label, and number of rows that are corrected before a training."""

PATIENCE = 600.0


def fill(store: Store, rows: int, dim: int, classes: int) -> list[Label]:
    """Store vectors, and labels of which some are wrong. Return the right labels of these rows."""
    rng = np.random.default_rng(0)
    codes, ids = rng.integers(0, classes, rows), [f"{row:064x}" for row in range(rows)]
    means = rng.standard_normal((classes, dim), np.float32) * 3 / dim**0.5
    spec = imported_spec("made", dim, source="benchmark", schema="made")
    features = store.ensure_features("made", spec, np.empty((0, dim), np.float32), dtype="float16")
    bulk = Bulk(features.table)
    X = means[codes] + rng.standard_normal((rows, dim), np.float32)
    bulk.write(
        batch
        for start in range(0, rows, 4096)
        for batch in features.arrow(ids[start : start + 4096], X[start : start + 4096]).to_batches()
    )
    bulk.commit(ids)
    splits = rng.choice(["train", "val", "test"], rows, p=[0.7, 0.15, 0.15]).tolist()
    right = [Label(id_, [f"class {code}"], split) for id_, code, split in zip(ids, codes, splits, strict=True)]
    wrong = [row for row in range(rows) if splits[row] == "train" and rng.random() < WRONG]
    given = list(right)
    for row in wrong:
        given[row] = Label(ids[row], [f"class {(codes[row] + 1) % classes}"], "train")
    store.labels.put("made", given)
    return [right[row] for row in wrong]


@contextmanager
def classification(settings: Settings) -> Iterator[str]:
    """Run the classification service alone, and yield its URL."""
    url = url_of(settings.host, settings.classification_port)
    command = [sys.executable, "-m", "services.cli", "serve", "classification"]
    process = subprocess.Popen(command, env=settings.environment())
    try:
        with Client(url, service="classification") as client:
            while not _ready(client):
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def _ready(client: Client) -> bool:
    try:
        client.ready()
    except Exception:
        return False
    return True


def learned(url: str, kind: str) -> tuple[float, dict[str, Any]]:
    """Return the seconds of one training as a client measures them, and its answer."""
    start = time.perf_counter()
    body = {"task": "made", "name": "made", "encoder": "made", "kind": kind}
    answer = httpx.post(f"{url}/v1/learn", json=body, timeout=PATIENCE)
    seconds = time.perf_counter() - start
    found: dict[str, Any] = answer.raise_for_status().json()
    return seconds, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--kind", default="gaussian")
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    print(machine(), flush=True)
    with TemporaryDirectory() as folder:
        home, (port,) = Path(folder), free_ports(1)
        store = Store.open(home / "headwater.db")
        corrections = fill(store, args.rows, args.dim, args.classes)
        places = {"store": store.uri, "heads": home / "heads", "jobs": home / "jobs"}
        settings = Settings(**places, classification_port=port, log_level="ERROR", learn_seconds=PATIENCE)
        with classification(settings) as url:
            first, _ = learned(url, args.kind)
            print(f"first, with the start of the process: {first:.2f} s", flush=True)
            times = []
            for number in range(args.times):
                store.labels.put("made", corrections[number * CORRECTED : (number + 1) * CORRECTED])
                seconds, answer = learned(url, args.kind)
                times.append(seconds)
                print(f"{seconds:.2f} s: {answer['comparison']}"[:200], flush=True)
    print(f"warm, {args.rows:,} × {args.dim:,}, {args.kind}: {spread(times)}")
    print(verdict("median of the warm trainings", float(np.median(times)), MOST_SECONDS, "s", at_least=False))


if __name__ == "__main__":
    main()
