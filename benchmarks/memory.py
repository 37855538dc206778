"""Peak memory of a backfill of many assets, compared with one of few: it must not grow with the number of assets.

    python -m benchmarks.memory [--few 10000] [--many 100000]

The assets are small JPEGs of noise in a temporary store. Each backfill is a process of its own (`headwater backfill`).
"""

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.measure import machine, verdict
from services.jobs.ingest import ingest
from store import Item, Store

MOST_RATIO = 1.1


def images(count: int, side: int) -> Iterator[Item]:
    random = np.random.default_rng(0)
    for i in range(count):
        out = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(out, "JPEG", quality=70)
        yield Item(uri=f"{i}.jpg", data=out.getvalue())


def largest_resident(count: int, side: int, encoder: str) -> float:
    """Return the peak resident memory in MB of a backfill of `count` images."""
    with TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "headwater.db")
        ingest(store, images(count, side))
        command = [sys.executable, "-m", "services.cli", "backfill", "--encoder", encoder, "--store", store.uri]
        process = subprocess.Popen([*command, "--json"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"the backfill ended with {os.waitstatus_to_exitcode(status)}")
        return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64, help="side of an image, in pixels")
    parser.add_argument("--encoder", default="lite0")
    options = parser.parse_args()
    print(machine())
    largest_resident(100, options.side, options.encoder)  # compiles the engine, which needs more memory than running it
    few, many = (largest_resident(count, options.side, options.encoder) for count in (options.few, options.many))
    print(f"peak memory with {options.few:,} images {few:.0f} MB, with {options.many:,} images {many:.0f} MB")
    print(verdict("many ÷ few", many / few, MOST_RATIO, "", at_least=False))


if __name__ == "__main__":
    main()
