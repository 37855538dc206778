"""Speed of a backfill, from bytes in the store to vectors in the store, compared with the engine alone.

python -m benchmarks.backfill --data FOLDER      with clothing10.parquet in FOLDER

Default encoders: lite0, and ViT-B/32 with random weights (`benchmarks.standin`).
"""

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import standin
from benchmarks.measure import machine, spread, verdict
from embedder import registry
from embedder.encoder import Encoder
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.settings import Settings
from store import Store
from store.interchange import read_sources

BATCH = 32
LEAST_RATE = {"lite0": 120}
LEAST_RATIO = {"lite0": 0.70, standin.NAME: 0.90}


def engine_rate(encoder: Encoder, batches: int = 30) -> float:
    """Return the images/s of the engine alone, on pixels in memory."""
    assert encoder.spec.image is not None
    size = encoder.spec.image.size
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    encoder.embed(pixels)
    start = time.perf_counter()
    for _ in range(batches):
        encoder.embed(pixels)
    return BATCH * batches / (time.perf_counter() - start)


def backfill_rate(encoder: Encoder, source: Path, rows: int | None) -> tuple[float, str]:
    """Return the images/s of all stages together, and a sentence on the slowest stage."""
    with TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "headwater.db")
        ingest(store, islice(read_sources([source]), rows))
        start = time.perf_counter()
        done = backfill(store, encoder)
        rate = done.done / (time.perf_counter() - start)
        stage, share = done.profile.limit(done.seconds)
        return rate, f"the slowest stage is {stage}, busy {share:.0%} of the time"


def compare(name: str, encoder: Encoder, options: argparse.Namespace) -> None:
    alone, whole = [], []
    for _ in range(options.repeats):  # in turn, so that a change in the machine's speed affects both
        alone.append(engine_rate(encoder, options.batches))
        rate, limit = backfill_rate(encoder, options.data / "clothing10.parquet", options.rows)
        whole.append(rate)
    ratios = [b / a for a, b in zip(alone, whole, strict=True)]
    print(f"{name} on {encoder.backend}, batches of {BATCH}")
    print(f"engine alone  {spread(alone, 'images/s', 0)}")
    print(f"backfill      {spread(whole, 'images/s', 0)}; {limit}")
    if name in LEAST_RATE:
        print(verdict("backfill of clothing10", statistics.median(whole), LEAST_RATE[name], "images/s", at_least=True))
    if name in LEAST_RATIO:
        print(verdict("backfill ÷ engine alone", statistics.median(ratios), LEAST_RATIO[name], "", at_least=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", nargs="+", default=[*LEAST_RATIO])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, help="number of images; default: all")
    parser.add_argument("--batches", type=int, default=30, help="batches of the engine alone")
    options = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as folder:
        for name in options.encoder:
            made = standin.resolve(name, Path(folder))
            compare(name, registry.load(made, backend=options.backend, cache_dir=Settings().cache), options)


if __name__ == "__main__":
    main()
