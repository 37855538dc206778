"""Recall and speed of the search by vector: exact, and each kind of index that LanceDB offers.

    python -m benchmarks.search --rows 1000000 --dim 512 --data FOLDER

Run it alone on the machine. The table is in a temporary folder, in float16. Vectors, of which queries are others drawn
the same way:

- real: with --data, lite0 embeds the photos of caltech99.parquet and clothing10.parquet. Rows are drawn from a mixture
  with one Gaussian a class: the mean of the class's vectors, and the covariance within classes, in their first
  principal components.
- spread: 2,000 Gaussian centres, and around each of them rows with a covariance whose eigenvalues fall as 1 / rank.
- random: independent normal numbers, the worst case: no partition is nearer to a query than another.

`headwater` is the index of this package, asked through `Features.search`, also among a share of the ids. Required:
recall@10 ≥ 0.95 and a median of at most 20 ms, on real vectors, or on spread ones without --data.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measure import machine, verdict
from embedder.spec import imported_spec
from store import Store
from store.bulk import Bulk
from store.lance import nearest
from store.tables.features import Features

Draw = Callable[[int, np.random.Generator], NDArray[np.float32]]
"""(number of rows, generator) → vectors."""

K = 10
LEAST_RECALL, MOST_MS = 0.95, 20.0
SHARES = (0.3, 0.01, 0.0005)
"""Shares of the ids among which the index is asked too."""


def photos(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return lite0's vectors of the photos in `folder`, and the number of each one's class."""
    import pyarrow.parquet as pq

    from embedder import registry
    from embedder.media.image import decode

    encoder, vectors, classes = registry.load("lite0"), [], []
    for name in ("caltech99", "clothing10"):
        table = pq.read_table(folder / f"{name}.parquet", columns=["image", "label"])
        for start in range(0, table.num_rows, 64):
            some = table.slice(start, 64)
            pixels = np.stack([encoder.prepare(decode(data).image) for data in some["image"].to_pylist()])
            vectors.append(encoder.embed(pixels).vectors)
            classes += [f"{name} {label}" for label in some["label"].to_pylist()]
    return np.concatenate(vectors), np.unique(classes, return_inverse=True)[1]


def mixture(X: NDArray[np.float32], codes: NDArray[np.intp], dim: int) -> Draw:
    """Return draws from one Gaussian a class, with the covariance within classes, in the first `dim` components."""
    axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][:dim]
    Z = X @ axes.T
    counts = np.bincount(codes)
    means = np.stack([Z[codes == k].mean(axis=0) for k in range(len(counts))])
    inside = np.cov(Z - means[codes], rowvar=False) + 1e-6 * np.eye(dim)
    root = np.linalg.cholesky(inside).astype(np.float32)

    def draw(rows: int, rng: np.random.Generator) -> NDArray[np.float32]:
        chosen = rng.choice(len(counts), rows, p=counts / counts.sum())
        return means[chosen] + rng.standard_normal((rows, dim), np.float32) @ root.T

    return draw


def spread_out(dim: int, clusters: int = 2000) -> Draw:
    scales = np.sqrt(1 / np.arange(1, dim + 1)).astype(np.float32)
    centres = np.random.default_rng(7).standard_normal((clusters, dim), np.float32) * scales

    def draw(rows: int, rng: np.random.Generator) -> NDArray[np.float32]:
        return centres[rng.integers(0, clusters, rows)] + 0.7 * rng.standard_normal((rows, dim), np.float32) * scales

    return draw


def random(dim: int) -> Draw:
    return lambda rows, rng: rng.standard_normal((rows, dim), np.float32)


def fill(store: Store, rows: int, dim: int, draw: Draw) -> Features:
    ids, rng = [f"{row:064x}" for row in range(rows)], np.random.default_rng(1)
    spec = imported_spec("made", dim, source="benchmark", schema="made")
    features = store.ensure_features("made", spec, np.empty((0, dim), np.float32), dtype="float16")

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, 16384):
            some = ids[start : start + 16384]
            yield from features.arrow(some, draw(len(some), rng)).to_batches()

    bulk = Bulk(features.table)
    bulk.write(batches())
    bulk.commit(ids)
    return features


def candidates(rows: int, dim: int) -> dict[str, tuple[Any, list[dict[str, int]]]]:
    """Return each kind of index with the settings with which it is asked."""
    from lancedb.index import HnswSq, IvfFlat, IvfPq, IvfRq, IvfSq

    parts = max(1, rows // nearest.PARTITION_ROWS)
    probes = [{"nprobes": n} for n in (20, 80)]
    refined = [{"nprobes": n, "refine_factor": r} for n in (20, 80) for r in (5, 20)]
    graph = [{"nprobes": 8, "ef": ef, "refine_factor": 3} for ef in (60, 150)]
    cosine = {"distance_type": "cosine"}
    return {
        "IVF_SQ": (IvfSq(**cosine, num_partitions=parts), refined),
        "IVF_RQ": (IvfRq(**cosine, num_partitions=parts), refined),
        "IVF_FLAT": (IvfFlat(**cosine, num_partitions=parts), probes),
        "IVF_HNSW_SQ": (HnswSq(**cosine, num_partitions=max(1, rows // 65536)), graph),
        "IVF_PQ": (IvfPq(**cosine, num_partitions=parts, num_sub_vectors=dim // 8), refined),
    }


def timed(ask: Callable[[NDArray[np.float32]], Sequence[str]], queries: NDArray[np.float32]) -> tuple[Any, list[float]]:
    """Return the ids for every query, and the milliseconds of each. The first queries are asked before, to warm up."""
    for query in queries[:3]:
        ask(query)
    found, times = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(set(ask(query)))
        times.append(1e3 * (time.perf_counter() - start))
    return found, times


def row(name: str, found: Any, wanted: Any, times: list[float], build: str = "") -> tuple[float, float]:
    """Print a row of the table, and return recall and the median of the milliseconds."""
    recall = float(np.mean([len(f & w) / len(w) for f, w in zip(found, wanted, strict=False)]))
    median, high = np.percentile(times, [50, 95])
    print(f"| {name} | {build or '|'} | {recall:.3f} | {median:.1f} | {high:.1f} |", flush=True)
    return recall, float(median)


def table_bytes(features: Features) -> int:
    return sum(each.stat().st_size for each in Path(features.table.uri).rglob("_indices/*/*"))


def measured(features: Features, draw: Draw, rows: int, dim: int, kinds: Sequence[str]) -> tuple[float, float]:
    """Print the table of one kind of vectors. Return recall@10 and the median of this package's own index."""
    queries = draw(100, np.random.default_rng(2))
    handle = features.table._handle()
    print("| index | build s | MB | recall@10 | p50 ms | p95 ms |\n|---|---:|---:|---:|---:|---:|", flush=True)

    def ask(exact: bool = False, **options: int) -> Callable[[NDArray[np.float32]], Sequence[str]]:
        def run(query: NDArray[np.float32]) -> Sequence[str]:
            asked = (
                handle.search(query, vector_column_name="vector").distance_type("cosine").select(["id", "_distance"])
            )
            asked = asked.bypass_vector_index() if exact else asked
            for name, value in options.items():
                asked = getattr(asked, name)(value)
            found: list[str] = asked.limit(K).to_arrow()["id"].to_pylist()
            return found

        return run

    few = queries[:20]
    wanted, times = timed(ask(exact=True), few)
    row("exact", wanted, wanted, times)
    for name, (config, settings) in candidates(rows, dim).items():
        if name not in kinds:
            continue
        before, start = table_bytes(features), time.perf_counter()
        handle.create_index("vector", config=config, name="tried", replace=True)
        built = f"{time.perf_counter() - start:.0f} | {(table_bytes(features) - before) / 1e6:.0f}"
        for options in settings:
            found, times = timed(ask(**options), few)
            row(f"{name} {' '.join(f'{k}={v}' for k, v in options.items())}", found, wanted, times, built)
        handle.drop_index("tried")
    before, start = table_bytes(features), time.perf_counter()
    features.optimize()
    built = f"{time.perf_counter() - start:.0f} | {(table_bytes(features) - before) / 1e6:.0f}"
    found, times = timed(lambda q: [id_ for id_, _ in features.search(q, K)], queries)
    figures = row("headwater", found[:20], wanted, times, built)
    for share in SHARES:
        among(features, queries[:8], share, rows)
    return figures


def among(features: Features, queries: NDArray[np.float32], share: float, rows: int) -> None:
    """Print the row of searches among a random share of the ids."""
    some = np.random.default_rng(3).choice(rows, int(share * rows), replace=False)
    ids = pa.chunked_array([pa.array([f"{each:064x}" for each in np.sort(some)])])
    handle, chosen = features.table._handle(), set(ids.to_pylist())
    wanted = []
    for query in queries:  # exact: every row, of which those are kept that are among the ids
        every = nearest.nearest(handle, query, "vector", int(20 * K / share), "cosine", exact=True)["id"].to_pylist()
        wanted.append(set([id_ for id_ in every if id_ in chosen][:K]))
    found, times = timed(lambda q: [id_ for id_, _ in features.search(q, K, ids=ids)], queries)
    row(f"headwater, among {len(ids):,} ids", found, wanted, times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--vectors", action="append", choices=["real", "spread", "random"])
    parser.add_argument("--index", action="append", help="Only these candidates, for example IVF_SQ.")
    args = parser.parse_args()
    print(machine(), flush=True)
    kinds = args.index or ["IVF_SQ", "IVF_RQ", "IVF_FLAT", "IVF_HNSW_SQ", "IVF_PQ"]
    required = "spread" if args.data is None else "real"
    for name in args.vectors or [*(["real"] if args.data else []), "spread", "random"]:
        draw = (
            mixture(*photos(args.data), args.dim)
            if name == "real"
            else {"spread": spread_out, "random": random}[name](args.dim)
        )
        with tempfile.TemporaryDirectory() as folder:
            features = fill(Store.open(f"{folder}/headwater.db"), args.rows, args.dim, draw)
            print(f"\n{name}: {args.rows:,} × {args.dim}, float16", flush=True)
            recall, median = measured(features, draw, args.rows, args.dim, kinds)
        if name == required:
            print(verdict("recall@10", recall, LEAST_RECALL, "", at_least=True))
            print(verdict("median", median, MOST_MS, "ms", at_least=False))


if __name__ == "__main__":
    main()
