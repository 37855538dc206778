"""Speed of `predict`: stored vectors of a store → a Parquet file, by a gaussian head with outlier percentiles and sets.

    python -m benchmarks.predict --rows 1000000 --dim 512 --classes 100

Run it alone on the machine. The store is in a temporary folder. Required: 200,000 rows/s with 100 classes.
"""

import argparse
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import machine, spread, verdict
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.spec import imported_spec
from services.jobs.predict.answers import PredictRequest
from services.jobs.predict.job import predict_stored
from store import Asset, Label, Store, asset_id
from store.bulk import Bulk
from store.schema import NO_FILE

REQUIRED = 200_000
"""Rows a second."""

TRAINED = 20_000
"""Rows with a label, from which the head is trained."""


def fill(store: Store, rows: int, dim: int, classes: int) -> None:
    """Store `rows` vectors around the centres of `classes` classes, and labels of the first ones."""
    rng = np.random.default_rng(0)
    centres = 0.5 * rng.standard_normal((classes, dim), np.float32)
    ids = [asset_id(str(row).encode()) for row in range(rows)]
    codes = rng.integers(0, classes, rows)
    features = store.ensure_features(
        "made", imported_spec("made", dim, source="benchmark", schema="made"), np.empty((0, dim), np.float32)
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, 16384):
            some = codes[start : start + 16384]
            X = centres[some] + rng.standard_normal((len(some), dim), np.float32)
            yield from features.arrow(ids[start : start + 16384], X).to_batches()

    bulk = Bulk(features.table)
    bulk.write(batches())
    bulk.commit(ids)
    store.assets.add(
        Asset(id_, f"photos/{row // 1000:04d}/{row:07d}.jpg", NO_FILE, "image/jpeg") for row, id_ in enumerate(ids)
    )
    store.labels.put("t", (Label(ids[row], [f"class {codes[row]:03d}"]) for row in range(min(rows, TRAINED))))
    store.optimize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store, registry = Store.open(f"{folder}/headwater.db"), Registry(Path(folder) / "heads")
        fill(store, args.rows, args.dim, args.classes)
        train(store, registry, task="t", encoders=["made"], kind="gaussian", name="h")
        head, seconds = registry.load("h"), []
        assert head.manifest.outlier, "the head must have outlier percentiles"
        assert head.manifest.conformal, "the head must have prediction sets"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(args.repeat):
            out = Path(folder) / f"{number}.parquet"
            seconds.append(predict_stored(store, head, PredictRequest(), out).seconds)
        found = pq.read_table(out)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert found.num_rows == args.rows
        assert found["label"].null_count == 0
        assert pa.types.is_string(found.schema.field("label").type)
        print(
            f"{args.rows:,} × {args.dim}, {args.classes} classes → {out.stat().st_size / 1e6:.0f} MB: {spread(seconds)}"
        )
        print(f"peak memory {peak / 1024:.0f} MB, {before / 1024:.0f} MB of it before predicting")
        print(verdict("rows per second", args.rows / float(np.median(seconds)), REQUIRED, "rows/s", at_least=True))


if __name__ == "__main__":
    main()
