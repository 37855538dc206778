"""Time of a backfill that is nearly done: 1,000,000 rows in the store, 10 missing.

    python -m benchmarks.resume [--rows 1000000]

The stored assets have a few bytes each, and float16 vectors of lite0's width (2.6 GB for 1,000,000), in a temporary
folder. The missing assets are real photos. The store's part of the work is timed in this process, on a store that is
opened anew each time. The command is timed from its start to its end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import machine, photo, spread, verdict
from embedder import registry
from embedder.encoder import Encoder
from services.jobs.ingest import ingest
from services.settings import Settings
from store import Asset, Item, Store, asset_id

MISSING, CHUNK = 10, 65_536
MOST_STORE, MOST_COMMAND = 2.0, 10.0


def records(rows: int) -> Iterator[Asset]:
    for i in range(rows):
        data = str(i).encode()
        yield Asset(asset_id(data), f"made/{i}", "image", "image/jpeg", 64, 64, None, data)


def fill(store: Store, encoder: Encoder, rows: int) -> None:
    store.assets.add(records(rows))
    features = store.ensure_features(encoder.name, encoder.spec, encoder.reference_probe(), dtype="float16")
    ids, random = store.missing(encoder.spec.fingerprint), np.random.default_rng(0)
    for start in range(0, rows, CHUNK):
        some = ids[start : start + CHUNK]
        features.put(some, random.standard_normal((len(some), encoder.spec.dim), np.float32))
    store.optimize()


def store_part(uri: str, encoder: Encoder, run: int) -> float:
    """Return the seconds to find the missing assets, read them, and write vectors for them."""
    start = time.perf_counter()
    store = Store.open(uri)
    features = store.features(encoder.spec.fingerprint)
    ids = store.missing(encoder.spec.fingerprint)
    contents = list(store.assets.contents(ids))
    features.put(ids, np.random.default_rng(run).standard_normal((len(ids), encoder.spec.dim), np.float32))
    seconds = time.perf_counter() - start
    assert len(contents) == MISSING
    return seconds


def command(uri: str) -> float:
    """Return the seconds of `headwater backfill`, from its start to its end."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "backfill", "--store", uri, "--json"], capture_output=True, check=True
    )
    seconds = time.perf_counter() - start
    assert json.loads(done.stdout)["embedded"] == MISSING
    return seconds


def add_missing(store: Store, run: int) -> None:
    """Add photos that are new to the store."""
    widths = range(200 + MISSING * run, 200 + MISSING * (run + 1))
    ingest(store, [Item(uri=f"{width}.jpg", data=photo(width, 333)) for width in widths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    encoder = registry.load("lite0", cache_dir=Settings().cache)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        store = Store.open(Path(folder) / "headwater.db")
        start = time.perf_counter()
        fill(store, encoder, options.rows)
        print(f"{options.rows:,} rows stored in {time.perf_counter() - start:.0f} s", flush=True)
        parts, commands = [], []
        for run in range(options.repeats):
            add_missing(store, 2 * run)
            parts.append(store_part(store.uri, encoder, run))
            add_missing(store, 2 * run + 1)
            commands.append(command(store.uri))
        print(f"the store's part {spread(parts)}; the command {spread(commands, digits=1)}")
        print(verdict("the store's part", statistics.median(parts), MOST_STORE, "s", at_least=False))
        print(verdict("the whole command", statistics.median(commands), MOST_COMMAND, "s", at_least=False))
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
