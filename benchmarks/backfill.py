"""How fast a backfill is, from bytes in the store to vectors in the store, beside the engine alone.

python -m benchmarks.backfill --data FOLDER      with clothing10.parquet in FOLDER
"""

import argparse
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import machine, spread, verdict
from embedder import registry
from embedder.encoder import Encoder
from services.backfill import backfill
from services.ingest import ingest
from services.settings import Settings
from store import Store
from store.interchange import read_sources

BATCH = 32
LEAST_RATE, LEAST_RATIO = 120, 0.6


def engine_rate(encoder: Encoder, batches: int = 30) -> float:
    """Images/s of the engine with pixels at hand."""
    assert encoder.spec.image is not None
    size = encoder.spec.image.size
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    encoder.embed(pixels)
    start = time.perf_counter()
    for _ in range(batches):
        encoder.embed(pixels)
    return BATCH * batches / (time.perf_counter() - start)


def backfill_rate(encoder: Encoder, source: Path) -> float:
    with TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "headwater.db")
        ingest(store, read_sources([source]))
        start = time.perf_counter()
        done = backfill(store, encoder, threads=os.cpu_count() or 1)
        return done.done / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    encoder = registry.load(options.encoder, backend=options.backend, cache_dir=Settings().cache)
    alone, whole = [], []
    for _ in range(options.repeats):  # in turn, so that a machine that drifts does not favour one of them
        alone.append(engine_rate(encoder))
        whole.append(backfill_rate(encoder, options.data / "clothing10.parquet"))
    ratios = [b / a for a, b in zip(alone, whole, strict=True)]
    print(f"{encoder.name} on {encoder.backend}, batches of {BATCH}")
    print(f"engine alone  {spread(alone, 'images/s', 0)}")
    print(f"backfill      {spread(whole, 'images/s', 0)}")
    print(verdict("backfill of clothing10", statistics.median(whole), LEAST_RATE, "images/s", at_least=True))
    print(verdict("backfill ÷ engine alone", statistics.median(ratios), LEAST_RATIO, "", at_least=True))


if __name__ == "__main__":
    main()
