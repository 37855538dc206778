"""Training on as many vectors as ImageNet has images: 1,281,167 × 512 float32 of 1,000 classes, from store to head.

    python -m benchmarks.imagenet_shape [--repeats 3] [--cold] [--phases] [--work ~/.cache/headwater/imagenet_shape]

The vectors are synthetic. They are written once, through the store, into the work folder (2.7 GB). The benchmark times
all of `classifiers.training.pipeline` with its defaults, each time in a process of its own: opening the store, joining
vectors and labels by id, statistics, choosing the shrinkage, temperature and prediction sets, the digest of the ids,
publishing. All rows are training rows, as in ImageNet's training set, so choice and calibration use one held-out fold
of about 10,000 rows; there is no test split. Memory is the process's peak resident size. Limits: 15 s and 2 GB on 2
cores. The exit status is 1 if one is exceeded. With --phases, one more run says where the seconds go.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.measure import machine, spread, verdict
from benchmarks.phases import Phases
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.published.registry import Registry
from classifiers.training import classes, kind, pipeline
from classifiers.training.learning import streamed
from classifiers.training.pipeline import train
from classifiers.training.rows import task_rows
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.task_rows import TaskRows
from embedder.spec import EncoderSpec
from store import Label, Store, asset_id
from store.tables.label_queries import LabelQueries

ROWS, DIM, CLASSES = 1_281_167, 512, 1_000
CHUNK = 65_536
MOST_SECONDS, MOST_GB = 15.0, 2.0
SPEC = EncoderSpec(architecture="imagenet-shape", weights="none", activation="none", output="pooled", dim=DIM)
NAME = "shape"


def fill(store: Store, rows: int) -> None:
    """Write overlapping classes on correlated dimensions with a mean that is not zero, chunk by chunk."""
    rng = np.random.default_rng(0)
    mixing = (np.eye(DIM) + rng.normal(size=(DIM, DIM)) / np.sqrt(DIM)).astype(np.float32)
    means = 0.2 * rng.standard_normal((CLASSES, DIM), dtype=np.float32)
    features = store.ensure_features(NAME, SPEC, np.eye(1, DIM, dtype=np.float32))
    for start in range(0, rows, CHUNK):
        ids = [asset_id(str(row).encode()) for row in range(start, min(start + CHUNK, rows))]
        codes = rng.integers(0, CLASSES, len(ids))
        X = rng.standard_normal((len(ids), DIM), dtype=np.float32) + means[codes]
        features.put(ids, X @ mixing + np.float32(0.5))
        store.labels.put(NAME, [Label(id_, [f"{code:04d}"], "train") for id_, code in zip(ids, codes, strict=True)])
        print(f"\r{start + len(ids):,} of {rows:,} rows written", end="", flush=True)
    print()
    store.optimize()


def measured(folder: Path, *, phases: bool) -> None:
    """Train once, in this process, and print seconds, peak memory in GB, held-out accuracy and phases as JSON."""
    with TemporaryDirectory() as heads:
        clock = watched() if phases else None
        start, cpu = time.perf_counter(), time.process_time()
        made = train(Store.open(folder, must_exist=True), Registry(Path(heads)), task=NAME, encoders=[NAME], name=NAME)
        spent = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "gb": peak_gb()}
    [found] = made.report.evaluations.values()
    print(json.dumps(spent | {"accuracy": found.accuracy, "phases": clock.lines() if clock else []}))


def watched() -> Phases:
    """Return a clock of the phases of training, from the start of the command on."""
    clock = Phases("opening, imports, and all else")
    clock.watch("reading labels", LabelQueries, "get")
    clock.watch("splits and classes", TaskRows, "labelled", "classes")
    clock.watch("dealing folds", task_rows, "dealt")
    clock.watch("pass: reading, join by id, sums, Gram products", GaussianClassifier, "gather")
    clock.watch("held-out fold: reading, statistics", streamed, "held_out")
    clock.watch("held-out fold: reading, statistics", Rows, "first")
    clock.watch("choosing the shrinkage", streamed, "choose_shrinkage")
    clock.watch("solving for the head", GaussianClassifier, "fit_statistics")
    clock.watch("scoring the fold by a head without it", streamed.Trainings, "unseen")
    clock.watch("temperature, prediction sets, figures", classes, "calibrate", "summarise")
    clock.watch("outlier detector and its percentiles", kind, "learn_outliers")
    clock.watch("ids: digest and file", pipeline, "sorted_hashes", "ids_digest", "ids_file")
    clock.watch("near-duplicates", pipeline, "find_leakage")
    clock.watch("publishing", Registry, "publish")
    return clock


def peak_gb() -> float:
    """Return the peak resident size of this process in GB. ru_maxrss would include that of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024**2


def forget(folder: Path) -> None:
    """Drop the files from the page cache, so that the next reader waits for the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(options: argparse.Namespace, folder: Path, *more: str) -> dict[str, Any]:
    """Train in a process of its own, and return what `measured` printed."""
    if options.cold:
        forget(folder)
    command = [sys.executable, "-m", "benchmarks.imagenet_shape", "--measured", *more]
    command += ["--work", str(options.work), "--rows", str(options.rows)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("~/.cache/headwater/imagenet_shape").expanduser())
    parser.add_argument("--rows", type=int, default=ROWS, help="fewer for a quick look")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="drop the table from the page cache before each run")
    parser.add_argument("--phases", action="store_true", help="print where the seconds of one more run go")
    parser.add_argument("--measured", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.work / f"{options.rows}.db"
    if options.measured:
        measured(folder, phases=options.phases)
        return 0
    print(machine())
    store = Store.open(folder)
    if store.labels.tasks().get(NAME, 0) < options.rows:
        fill(store, options.rows)
    runs = [run(options, folder) for _ in range(options.repeats)]
    seconds, memory = [run["seconds"] for run in runs], max(run["gb"] for run in runs)
    print(f"{options.rows:,} × {DIM}, {CLASSES:,} classes, {'from disk' if options.cold else 'page cache warm'}")
    print(f"store → published head: {spread(seconds, 's', 1)}, accuracy on held-out rows {runs[0]['accuracy']:.3f}")
    print(f"processor time: {spread([run['cpu'] for run in runs], 's', 1)}, of all cores, without waiting")
    print(verdict("seconds", statistics.median(seconds), MOST_SECONDS, "s", at_least=False))
    print(verdict("peak memory", memory, MOST_GB, "GB", at_least=False))
    if options.phases:
        print(*run(options, folder, "--phases")["phases"], sep="\n")
    print(f"load {os.getloadavg()[0]:.1f} after")
    return 0 if statistics.median(seconds) <= MOST_SECONDS and memory <= MOST_GB else 1


if __name__ == "__main__":
    sys.exit(main())
