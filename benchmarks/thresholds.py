"""The number of positive rows that a label needs for a threshold of its own (`LEAST_TUNED`), on training rows.

    python -m benchmarks.thresholds --data FOLDER      with the data sets of TASKS as Parquet in FOLDER

The rows of the split `train` are dealt into three parts, five times: heads learn from the first, thresholds are tuned
on the second, F1 is measured on the third. In tasks with classes, each class counts as a label.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import machine
from benchmarks.quality.__main__ import WORK
from benchmarks.quality.labels import indicator
from benchmarks.quality.vectors import prepare
from classifiers.evaluation.label_figures import evaluate_labels
from classifiers.evaluation.thresholds import tune_thresholds
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.training.calibrate import LEAST_TUNED
from store import Store

TASKS = ("caltech99", "clothing10", "coco18_share", "emoji_2vendors")
ENCODER = "lite0"
LEASTS = (1, 3, 5, 10, 20, 40)
SEEDS = (0, 1, 2, 3, 4)
FEWEST = 5
"""Least number of positive training rows of a label; rarer labels are left out."""
LEARNED, TUNED = 0.6, 0.8
"""Ends of the first two parts, as shares of the rows."""


def f1(X: NDArray[np.float32], Y: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """Return macro-F1 and micro-F1 for each of `LEASTS`, (len(LEASTS), 2)."""
    order = np.random.default_rng(seed).permutation(len(X))
    learning, tuning, checking = np.split(order, [int(LEARNED * len(X)), int(TUNED * len(X))])
    known = np.flatnonzero(Y[learning].any(axis=0))
    names = [str(label) for label in known]
    head = LabelwiseClassifier().fit(X[learning], Y[learning][:, known], names).head_
    scores = head.scores(X[tuning])
    found = []
    for least in LEASTS:
        limits = tune_thresholds(scores, Y[tuning][:, known], least=least).labels
        checked = evaluate_labels(head.scores(X[checking]), Y[checking][:, known], names, limits)
        found.append((checked.macro_f1, checked.micro_f1))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--store", type=Path, default=WORK / "headwater.db", help="the store; it is made if missing, and kept"
    )
    options = parser.parse_args()
    print(machine())
    store = Store.open(options.store)
    prepare(store, options.data, TASKS, (ENCODER,))
    for task in TASKS:
        matrix = store.matrix(task, [ENCODER], splits=("train",))
        Y = indicator(matrix.y, sorted({label for labels in matrix.y for label in labels}))
        Y = Y[:, Y.sum(axis=0) >= FEWEST]
        runs = np.stack([f1(matrix.X, Y, seed) for seed in SEEDS])
        gains = runs - runs[:, :1]
        print(f"\n{task}: {len(Y)} rows, {Y.shape[1]} labels, median {np.median(Y.sum(axis=0)):.0f} positive rows")
        print("  least  macro-F1                 micro-F1")
        for i, least in enumerate(LEASTS):
            means, apart, spread = runs[:, i].mean(0), 100 * gains[:, i].mean(0), 100 * gains[:, i].std(0, ddof=1)
            cells = [f"{means[k]:.3f} ({apart[k]:+.1f} ± {spread[k]:.1f})" for k in (0, 1)]
            print(f"  {least:5d}  {cells[0]:24s} {cells[1]}{'   ← in use' if least == LEAST_TUNED else ''}")


if __name__ == "__main__":
    main()
