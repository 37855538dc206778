"""Time of a fit: the Gaussian head on 200,000 × 512 float32 vectors of 1,000 classes.

    python -m benchmarks.fit [gaussian] [--repeats 5]

The benchmark has two parts. In memory, the fit takes turns with scikit-learn's LDA(solver="lsqr"), with the same fixed
shrinkage on the same arrays; labels are integers, then strings, as in a store. From a store in a temporary folder, the
fit alone is timed, and all of `classifiers.training.pipeline` (with ids, digest, calibration, report and artifact). The
fit must be at least 15 times as fast as scikit-learn's with the same predictions, and take at most 3 s from the store.
Otherwise the exit status is 1.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from threadpoolctl import threadpool_info

from benchmarks.measure import machine
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.published.registry import Registry
from classifiers.training.learning.streamed import learn_streamed
from classifiers.training.pipeline import train
from classifiers.training.rows.rows import Rows
from embedder.spec import EncoderSpec
from store import Label, Store

ROWS, DIM, CLASSES = 200_000, 512, 1_000
SHRINKAGE = 0.1
LEAST_RATIO, MOST_SECONDS = 15.0, 3.0


def vectors(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return X (n, d) and codes (n,) of overlapping classes on correlated dimensions, with a mean that is not zero."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, CLASSES, ROWS)
    mixing = (np.eye(DIM) + rng.normal(size=(DIM, DIM)) / np.sqrt(DIM)).astype(np.float32)
    X = rng.standard_normal((ROWS, DIM), dtype=np.float32)
    X += 0.35 * rng.standard_normal((CLASSES, DIM), dtype=np.float32)[codes]
    return X @ mixing + 0.5, codes


def seconds(run: Callable[[], object]) -> float:
    """Return the seconds of one run, after a pause in which the BLAS threads of the run before stop spinning."""
    time.sleep(0.2)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def shown(times: list[float]) -> str:
    low, high = min(times), max(times)
    return f"median {statistics.median(times):6.2f} s  ({low:.2f}–{high:.2f}, {len(times)} runs)"


def in_memory(X: np.ndarray, y: np.ndarray, labels: str, repeats: int) -> bool:
    ours = GaussianClassifier(shrinkage=SHRINKAGE)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    our_times, their_times, floor = [], [], []
    for _ in range(repeats):
        our_times.append(seconds(lambda: ours.fit(X, y)))
        their_times.append(seconds(lambda: theirs.fit(X, y)))
        floor.append(seconds(lambda: X.T @ X))
    ratio = statistics.median(their_times) / statistics.median(our_times)
    some = X[:: ROWS // 20_000]
    mine, other = ours.predict(some), theirs.predict(some)
    same = float(np.mean(mine == other))
    print(f"in memory, labels as {labels:8}: Gaussian head  {shown(our_times)}")
    print(f"                              scikit-learn   {shown(their_times)}")
    print(f"                              X.T @ X alone  {shown(floor)}")
    print(f"ratio {ratio:.1f} (must be at least {LEAST_RATIO:g});", end=" ")
    print(f"same prediction on {same:.4%} of {len(some):,} rows ({np.sum(mine != other)} differ)")
    return ratio >= LEAST_RATIO and same >= 0.9999


def from_store(X: np.ndarray, codes: np.ndarray, repeats: int) -> bool:
    spec = EncoderSpec(architecture="bench", weights="none", activation="none", output="pooled", dim=DIM)
    ids = [f"{row:064x}" for row in range(ROWS)]
    with tempfile.TemporaryDirectory() as folder:
        store, registry = Store.open(Path(folder) / "store"), Registry(Path(folder) / "heads")
        features = store.ensure_features("bench", spec, X[:2])
        for start in range(0, ROWS, 50_000):
            features.put(ids[start : start + 50_000], X[start : start + 50_000])
        labels = zip(ids, codes.tolist(), strict=True)
        store.labels.put("bench", (Label(id_, [f"{code:04d}"], "train") for id_, code in labels))
        store.optimize()

        def fit() -> None:
            rows = Rows(store, "bench", ("bench",), store.snapshot())
            learn_streamed(GaussianClassifier(shrinkage=SHRINKAGE), rows, rows.classes())

        def whole() -> None:
            train(store, registry, task="bench", encoders=["bench"], name="bench")

        fits, wholes = zip(*[(seconds(fit), seconds(whole)) for _ in range(repeats)], strict=True)
    print(f"store → fitted head        {shown(list(fits))} (must be at most {MOST_SECONDS:g} s)")
    print(f"store → published head     {shown(list(wholes))}")
    return statistics.median(fits) <= MOST_SECONDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["gaussian"], nargs="?", default="gaussian")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    pools = [info for info in threadpool_info() if info["user_api"] == "blas"]
    kernels = ", ".join(f"{info['internal_api']} {info['version']} {info['architecture']}" for info in pools)
    print(f"{ROWS:,} × {DIM} float32, {CLASSES:,} classes, shrinkage {SHRINKAGE}")
    print(f"{machine()}; BLAS: {kernels}")
    X, codes = vectors()
    names = np.array([f"class {code:04d}" for code in range(CLASSES)])[codes]
    held = [
        in_memory(X, codes, "integers", arguments.repeats),
        in_memory(X, names, "strings", arguments.repeats),
        from_store(X, codes, arguments.repeats),
    ]
    print(f"load {os.getloadavg()[0]:.1f} after; {'all limits hold' if all(held) else 'a limit does not hold here'}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
