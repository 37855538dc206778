"""Speed of the store: writes, the anti-join for missing vectors, look-ups, and streaming vectors with labels.

    python benchmarks/feature_store.py --rows 200000 --dim 512 --assets 1000000

Prints medians and the machine's load; run it alone on the machine. The tables are in a temporary folder.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from embedder.spec import EncoderSpec
from store import Asset, Label, Store, asset_id


def spec(dim: int, weights: str) -> EncoderSpec:
    return EncoderSpec(architecture="benchmark", weights=weights, activation="gelu", output="pooled", dim=dim)


def show(name: str, seconds: list[float], note: str = "") -> None:
    median = statistics.median(seconds)
    print(f"{name:44} {median:8.3f} s   (best {min(seconds):.3f}, of {len(seconds)})   {note}", flush=True)


def timed(run: Callable[[], object], repeat: int) -> list[float]:
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def fill_vectors(store: Store, name: str, ids: list[str], dim: int, chunk: int) -> None:
    features = store.ensure_features(name, spec(dim, name), np.eye(1, dim, dtype=np.float32))
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for low in range(0, len(ids), chunk):
        some = ids[low : low + chunk]
        features.put(some, rng.standard_normal((len(some), dim), np.float32))
    seconds = time.perf_counter() - start
    show(f"write {len(ids):,} x {dim} ({name})", [seconds], f"{len(ids) / seconds:,.0f} rows/s, chunks of {chunk}")


def vectors(store: Store, args: argparse.Namespace) -> None:
    ids = [asset_id(str(i).encode()) for i in range(args.rows)]
    fill_vectors(store, "a", ids, args.dim, args.chunk)
    fill_vectors(store, "b", ids, args.dim, args.chunk)
    labels = (Label(id_, [f"class {i % args.classes}"], "train") for i, id_ in enumerate(ids))
    show(f"labels put, {args.rows:,} rows", timed(lambda: store.labels.put("t", labels), 1))

    def stream(*encoders: str) -> None:
        total = sum(len(codes) for _, _, codes in store.batches("t", encoders, splits=["train"]))
        assert total == args.rows

    show("batches, one encoder, with labels", timed(lambda: stream("a"), args.repeat))
    show("batches, two encoders, with labels", timed(lambda: stream("a", "b"), args.repeat))
    show("matrix, one encoder", timed(lambda: store.matrix("t", ["a"]), args.repeat))
    features, rng = store.features("a"), np.random.default_rng(1)
    for count in (1, 200, 5000):
        some = [ids[i] for i in rng.integers(0, args.rows, count)]
        show(f"vectors of {count} ids", timed(lambda some=some: features.get(some), args.repeat))
    show("search, 10 nearest, brute force", timed(lambda: features.search(np.ones(args.dim), 10), args.repeat))


def records(count: int, size: int) -> Iterator[Asset]:
    content = os.urandom(size)
    for i in range(count):
        data = str(i).encode()
        yield Asset(asset_id(data), f"mem/{i}", "image", "image/jpeg", 64, 64, None, data + content)


def assets(store: Store, args: argparse.Namespace) -> None:
    start = time.perf_counter()
    store.assets.add(records(args.assets, args.content))
    show(f"assets.add, {args.assets:,} of {args.content} bytes", [time.perf_counter() - start])
    fingerprint = spec(8, "c").fingerprint
    features = store.ensure_features("c", spec(8, "c"), np.eye(1, 8, dtype=np.float32))
    done = store.missing(fingerprint)[:-10]
    for low in range(0, len(done), 65536):
        features.put(done[low : low + 65536], np.ones((len(done[low : low + 65536]), 8)))

    def missing() -> None:
        assert len(store.missing(fingerprint)) == 10

    some = [done[i] for i in np.random.default_rng(2).integers(0, len(done), 200)]
    for state in ("as written", "optimized"):
        show(f"missing, 10 of {args.assets:,}, {state}", timed(missing, args.repeat))
        show(f"contents of 200 ids, {state}", timed(lambda: list(store.assets.contents(some)), args.repeat))
        if state == "as written":
            show("optimize", timed(store.optimize, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the two tables of vectors; 0 skips them")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=16384, help="rows of a write")
    parser.add_argument("--assets", type=int, default=1_000_000, help="rows of the table of assets; 0 skips it")
    parser.add_argument("--content", type=int, default=100, help="bytes of an asset's content")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if args.rows:
            vectors(Store.open(Path(folder, "vectors")), args)
        if args.assets:
            assets(Store.open(Path(folder, "assets")), args)
    print(f"load average at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
