"""Backfill on Ray compared with the local engine, and the cost of commits as a table grows, for docs/scale.md.

    python -m benchmarks.ray_backfill --data FOLDER      with clothing10, caltech99 and flowers5.parquet in FOLDER
    python -m benchmarks.ray_backfill                    only the commits

Both need the extra `ray`. Each engine runs as a command in its own process, as a user starts it. The machine's load is
printed with each figure.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import machine, photo, spread, timed
from embedder import registry
from embedder.media.image import decode
from embedder.spec import EncoderSpec
from services.jobs.ingest import ingest
from services.settings import Settings
from store import Asset, Features, Store, asset_id
from store.interchange import read_sources
from store.lance.fragments import Appender, write

CHUNK = 512
SOURCES = ("clothing10", "caltech99", "flowers5")
WAYS = {
    "local, 2 threads": ["--engine", "local"],
    "ray, 1 worker of 2 CPUs": ["--engine", "ray", "--workers", "1", "--cpus", "2"],
    "ray, 2 workers of 1 CPU": ["--engine", "ray", "--workers", "2", "--cpus", "1"],
}


def show(name: str, told: str) -> None:
    print(f"{name:58} {told}   load {os.getloadavg()[0]:.1f}", flush=True)


def engines(folder: Path, encoder: str, repeats: int) -> None:
    """Time whole commands on a small store and on a larger one, in turn.

    The difference between the two times is the work itself. The rest is the start: imports, models, for Ray a cluster.
    """
    with TemporaryDirectory() as work:
        stores = [Path(work, name) for name in ("small", "large")]
        counts = []
        for store, names in zip(stores, (SOURCES[:1], SOURCES), strict=True):
            ingest(Store.open(store), read_sources([folder / f"{name}.parquet" for name in names]))
            counts.append(Store.open(store).assets.count())
        found: dict[str, list[list[float]]] = {name: [] for name in WAYS}
        for trial in range(repeats):
            for name, options in WAYS.items():
                copies = [copytree(store, Path(work, f"{store.name}-{trial}-{name}")) for store in stores]
                found[name].append([run(copy, encoder, options) for copy in copies])
        for name, runs in found.items():
            for i, count in enumerate(counts):
                show(f"{name}, {count:,} images", spread([seconds[i] for seconds in runs], "s", 1))
            rates = [(counts[1] - counts[0]) / (large - small) for small, large in runs]
            show(f"{name}: once it runs", spread(rates, "images/s", 0))


def run(store: Path, encoder: str, options: Sequence[str]) -> float:
    """Return the seconds of one backfill command."""
    command = [sys.executable, "-m", "services.cli", "backfill", "-e", encoder, "--store", str(store), "--json"]
    start = time.perf_counter()
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE)
    if done.returncode not in (0, 3):
        sys.exit(done.returncode)
    return time.perf_counter() - start


def spec(dim: int) -> EncoderSpec:
    return EncoderSpec(architecture="benchmark", weights="w", activation="gelu", output="pooled", dim=dim)


def ids(start: int, count: int) -> list[str]:
    return [asset_id(str(i).encode()) for i in range(start, start + count)]


def made(folder: str, dim: int) -> Features:
    return Store.open(folder).ensure_features("b", spec(dim), np.eye(1, dim, dtype=np.float32))


def by_fragments(counts: Sequence[int], repeats: int) -> None:
    """Time a commit of 512 rows to tables with `counts` fragments. Real fragments have 512 rows, these have 1."""
    with TemporaryDirectory() as folder:
        features, next_id = made(folder, 8), 0
        row = np.ones((1, 8), np.float32)
        for count in counts:
            some = ids(next_id, count)
            parts = [part for id_ in some for part in write(features.table, features.arrow([id_], row))]
            Appender(features.table, some).append(some, parts)
            chunks = [ids(next_id + count + i * CHUNK, CHUNK) for i in range(repeats)]
            next_id += count + repeats * CHUNK
            appender = Appender(features.table, [id_ for chunk in chunks for id_ in chunk])
            rows = np.ones((CHUNK, 8), np.float32)
            ready = iter([(chunk, write(features.table, features.arrow(chunk, rows))) for chunk in chunks])
            seconds = timed(lambda ready=ready, appender=appender: appender.append(*next(ready)), repeats)
            show(f"commit of 512 rows, {count:,} more fragments", spread(seconds))
        largest = max(path.stat().st_size for path in Path(features.table.uri, "_versions").iterdir())
        show("manifest: bytes a fragment", f"{largest / (sum(counts) + repeats * len(counts)):.0f}")


def by_rows(counts: Sequence[int], repeats: int) -> None:
    """Time a commit of 512 rows to compacted tables with `counts` rows: appending fragments, and merging rows."""
    for count in counts:
        with TemporaryDirectory() as folder:
            features = made(folder, 8)
            have = ids(0, count)
            for start in range(0, count, 1 << 17):
                some = have[start : start + (1 << 17)]
                features.put(some, np.ones((len(some), 8), np.float32))
            Store.open(folder).optimize()
            chunks = [ids(count + i * CHUNK, CHUNK) for i in range(2 * repeats)]
            rows = np.ones((CHUNK, 8), np.float32)
            appender = Appender(features.table, [id_ for chunk in chunks for id_ in chunk])
            ready = iter([(chunk, write(features.table, features.arrow(chunk, rows))) for chunk in chunks[:repeats]])
            seconds = timed(lambda ready=ready, appender=appender: appender.append(*next(ready)), repeats)
            show(f"commit of 512 rows, {count:,} rows there, fragments", spread(seconds))
            left = iter(chunks[repeats:])
            seconds = timed(lambda left=left, f=features, rows=rows: f.put(next(left), rows), repeats)
            show(f"commit of 512 rows, {count:,} rows there, merge_insert", spread(seconds))


def looked_up(count: int, repeats: int) -> None:
    """Time a worker's reading of contents by id, and the driver's search for missing vectors."""
    with TemporaryDirectory() as folder:
        store = Store.open(folder)
        content = os.urandom(100)
        every = ids(0, count)
        store.assets.add(Asset(id_, "mem", "image", "image/jpeg", 1, 1, None, content) for id_ in every)
        store.optimize()
        for rows in (512, 4096):
            picks = [list(np.random.default_rng(i).choice(every, rows, replace=False)) for i in range(repeats)]
            left = iter(picks)
            seconds = timed(lambda left=left: list(store.assets.contents([str(i) for i in next(left)])), repeats)
            show(f"contents of {rows} ids of {count:,}", spread(seconds))
        store.ensure_features("b", spec(8), np.eye(1, 8, dtype=np.float32))
        seconds = timed(lambda: store.missing(spec(8).fingerprint), repeats)
        show(f"missing, {count:,} of {count:,}", spread(seconds))


def planned(count: int) -> None:
    """Print the driver's memory for each id without a vector: two copies of the id, and the plan for Ray."""
    with TemporaryDirectory() as folder:
        store = Store.open(folder)
        store.assets.add(Asset(id_, "mem", "image", "image/jpeg", 1, 1, None, b"x") for id_ in ids(0, count))
        table = store.ensure_features("b", spec(8), np.eye(1, 8, dtype=np.float32)).table
        before = resident()
        missing = store.missing(spec(8).fingerprint)
        appender = Appender(table, missing)
        show(f"driver: bytes of memory an id, of {count:,}", f"{(resident() - before) / len(missing):.0f}")
        del appender


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def decoded(encoder: str, repeats: int) -> None:
    """Time decoding and preparing one photo on one thread, which a GPU waits for."""
    loaded, data = registry.load(encoder, cache_dir=Settings().cache), photo()
    seconds = timed(lambda: loaded.prepare(decode(data).image), 10 * repeats)
    show(f"decode and prepare a 640×480 JPEG for {encoder}, one thread", spread([1000 * s for s in seconds], "ms", 2))


def sizes(dims: Sequence[int], count: int = 65_536) -> None:
    """Print the bytes of a row on disk after commits of 512 rows, and the time of compaction."""
    random = np.random.default_rng(0)
    for dim in dims:
        with TemporaryDirectory() as folder:
            features = made(folder, dim)
            appender = Appender(features.table, ids(0, count))
            for start in range(0, count, CHUNK):
                some = ids(start, CHUNK)
                rows = random.standard_normal((CHUNK, dim), np.float32)
                appender.append(some, write(features.table, features.arrow(some, rows)))
            data = sum(path.stat().st_size for path in Path(features.table.uri, "data").iterdir())
            rest = sum(path.stat().st_size for path in Path(features.table.uri).rglob("*") if path.is_file()) - data
            show(f"{dim} float32: bytes per row, data + manifests", f"{data / count:.0f} + {rest / count:.0f}")
            before = time.perf_counter()
            Store.open(folder).optimize()
            seconds = time.perf_counter() - before
            show(f"compaction of {count:,} × {dim} from {count // CHUNK} fragments", f"{seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    planned(1_000_000)  # first, because later it could reuse memory that other parts have freed
    by_fragments((1, 100, 1000, 10_000), 5)
    by_rows((10_000, 100_000, 1_000_000), 5)
    looked_up(1_000_000, 3)
    sizes((512, 1280))
    decoded(options.encoder, options.repeats)
    if options.data:
        engines(options.data, options.encoder, options.repeats)


if __name__ == "__main__":
    main()
