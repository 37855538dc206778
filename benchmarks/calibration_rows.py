"""How many validation rows a temperature needs, against folds of the training rows.

    python -m benchmarks.calibration_rows --store URI --encoder lite0 --task caltech99 --task clothing10

Only training rows are read. A `gaussian` head learns from half of them; the temperature comes from its folds, or from a
few of the other rows, drawn 200 times. The rows that were not drawn measure the NLL.
"""

import argparse

import numpy as np

from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.training.calibrate import temperature_of
from classifiers.training.rows.folds import dealt
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.task_rows import FOLDS
from store import Store

SIZES, DRAWS = (9, 20, 50, 100), 200


def lines(store: Store, task: str, encoder: str) -> list[str]:
    """Return the NLL by number of validation rows, as lines to print."""
    rows = Rows(store, task, (encoder,), store.snapshot())
    classes = rows.classes()
    matrix, table = rows.matrix("train", classes), rows.labelled("train").sort_by("id")
    first = dealt(table, 2) == 0
    X, codes, others, truth = matrix.X[first], matrix.codes[first], matrix.X[~first], matrix.codes[~first]
    scores = GaussianClassifier().fit(X, codes).head_.scores(others)
    folds, crossed = dealt(table.filter(first), FOLDS), np.empty((len(X), len(classes)), np.float32)
    for fold in range(FOLDS):
        held = folds == fold
        crossed[held] = GaussianClassifier().fit(X[~held], codes[~held]).head_.scores(X[held])
    rng = np.random.default_rng(0)
    found = [f"{task}: folds of {len(X):,} rows: NLL {mean_nll(scores, truth, fit_temperature(crossed, codes)):.3f}"]
    for size in SIZES:
        losses = []
        for _ in range(DRAWS):
            order = rng.permutation(len(others))
            drawn, rest = order[:size], order[size:]
            losses.append(mean_nll(scores[rest], truth[rest], temperature_of(scores[drawn], truth[drawn])))
        found.append(
            f"  {size} validation rows: NLL {np.mean(losses):.3f}, worst of 20 {np.quantile(losses, 0.95):.3f}"
        )
    return [*found, f"  best: NLL {mean_nll(scores, truth, fit_temperature(scores, truth)):.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("--task", action="append", required=True)
    options = parser.parse_args()
    store = Store.open(options.store, must_exist=True)
    for task in options.task:
        print("\n".join(lines(store, task, options.encoder)), flush=True)


if __name__ == "__main__":
    main()
