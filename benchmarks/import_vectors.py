"""Speed and memory of `import-vectors`: a file of vectors and its names → a store, in a process of its own.

    python -m benchmarks.import_vectors --rows 1000000 --dim 512

Run it alone on the machine. Files and stores are in a temporary folder, which needs three times the size of the
vectors. Required: 1,000,000 × 512 float32 are stored in 15 s. The index for `search` is made afterwards, and has a
figure of its own.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import machine, spread, verdict

SECONDS = 15.0
"""Time until a million vectors of 512 numbers are stored."""

FORMATS = {"npy": ["v.npy", "--rows", "rows.parquet"], "parquet": ["v.parquet"]}
"""Arguments of the command for each format."""


def fill(folder: Path, rows: int, dim: int, kind: str) -> None:
    """Write the vectors and their names."""
    rng, chunk = np.random.default_rng(0), 65536
    names = [f"photos/{row // 1000:04d}/{row:07d}.jpg" for row in range(rows)]
    sizes = [min(chunk, rows - start) for start in range(0, rows, chunk)]
    if kind == "npy":
        array = np.lib.format.open_memmap(folder / "v.npy", "w+", np.float32, (rows, dim))
        for number, size in enumerate(sizes):
            array[number * chunk : number * chunk + size] = rng.standard_normal((size, dim), np.float32)
        array.flush()
        pq.write_table(pa.table({"path": names}), folder / "rows.parquet")
        return
    schema = pa.schema([("path", pa.string()), ("embedding", pa.list_(pa.float32(), dim))])
    with pq.ParquetWriter(folder / "v.parquet", schema, compression="none", use_dictionary=False) as writer:
        for number, size in enumerate(sizes):
            flat = pa.array(rng.standard_normal(size * dim, np.float32))
            some = names[number * chunk : number * chunk + size]
            vectors = pa.FixedSizeListArray.from_arrays(flat, dim)
            writer.write_table(pa.table([pa.array(some), vectors], schema=schema))


def run(folder: Path, kind: str) -> tuple[float, float, dict[str, Any]]:
    """Run the command; return its seconds, its peak memory in MB, and what it printed."""
    command = [sys.executable, "-m", "services.cli", "import-vectors", *FORMATS[kind], "--name", "clip", "--json"]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--store", "s.db"], cwd=folder, stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{kind} failed"
    return time.perf_counter() - start, usage.ru_maxrss / 1024, json.loads(printed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(machine(), flush=True)
    limit = SECONDS * args.rows * args.dim / 512e6
    for kind in FORMATS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            # In a process of its own: the peak memory of a process counts that of its parent when it started.
            filling = multiprocessing.get_context("spawn").Process(
                target=fill, args=(folder, args.rows, args.dim, kind)
            )
            filling.start()
            filling.join()
            stored, indexed, peaks = [], [], []
            for _ in range(args.rounds):
                shutil.rmtree(folder / "s.db", ignore_errors=True)
                os.sync()  # the command does not wait for the disk to write what was there before
                seconds, peak, first = run(folder, kind)
                assert first["new"] == args.rows
                stored.append(seconds - first["index_seconds"])
                indexed.append(first["index_seconds"])
                peaks.append(peak)
            again, peak_again, second = run(folder, kind)
            assert (second["new"], second["already_stored"]) == (0, args.rows)
            print(f"{kind}: stored after {spread(stored)}, then indexed in {spread(indexed)}, peak {max(peaks):.0f} MB")
            print(f"{kind}, again: {again:.1f} s, peak {peak_again:.0f} MB", flush=True)
            name = f"import of {args.rows:,} × {args.dim} from {kind}"
            print(verdict(name, statistics.median(stored), limit, "s", at_least=False), flush=True)


if __name__ == "__main__":
    main()
