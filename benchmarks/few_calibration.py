"""The NLL of heads that learn from so few rows that none can calibrate them, by the way their temperature is found.

    python -m benchmarks.few_calibration --store URI [--encoder lite0] TASK…

In each draw, heads learn from k training rows of some classes, and the other training rows of these classes measure the
NLL: at a temperature of 1, at the least temperature that the rows they learned from justify, at the one that training
uses (from rows held out in turn), and at the best one. The mean over the draws, and in brackets the worst draw.
"""

import argparse
from dataclasses import dataclass

import numpy as np

from classifiers.evaluation.calibration import fit_temperature, least_temperature, mean_nll
from classifiers.training.calibrate import tempered
from classifiers.training.kinds import CLASS_KINDS, make_estimator
from classifiers.training.rows.rows import Rows
from store import Store

SIZES, DRAWS, MEASURED = ((2, 3), (2, 8), (5, 3)), 4, 100
KINDS = ("gaussian", "linear")


@dataclass(frozen=True)
class Measured:
    """The NLL of a head's other rows at four temperatures."""

    one: float
    least: float
    used: float
    best: float


def measured(rows: Rows, kind: str, classes: int, shots: int, seed: int) -> Measured:
    matrix = rows.matrix("train", rows.classes())
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(matrix.classes))[:classes]
    each = [rng.permutation(np.flatnonzero(matrix.codes == code)) for code in chosen]
    ids = np.array(matrix.ids)[np.concatenate([own[:shots] for own in each])].tolist()
    some = rows.narrowed(ids)
    estimator = make_estimator(kind, {}, rows.encoders)
    learned = CLASS_KINDS[kind].learned(estimator, some)
    others = np.concatenate([own[shots:] for own in each])[: MEASURED * classes]
    names = np.array(matrix.classes)[matrix.codes[others]]
    codes, scores = np.searchsorted(np.array(learned.head.classes), names), learned.head.scores(matrix.X[others])
    X, _ = some.first("train", learned.head.classes, len(ids))
    temperatures = (
        1.0,
        least_temperature(learned.head.scores(X)),
        tempered(learned, some).temperature,
        fit_temperature(scores, codes),
    )
    return Measured(*(mean_nll(scores, codes, each) for each in temperatures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("tasks", nargs="+")
    options = parser.parse_args()
    store = Store.open(options.store, must_exist=True)
    every = [Rows(store, task, (options.encoder,), store.snapshot()) for task in options.tasks]
    print("| kind | classes × rows | T = 1 | least T | held-out rows | best T |\n|---|---|---|---|---|---|")
    for kind in KINDS:
        for classes, shots in SIZES:
            found = [measured(rows, kind, classes, shots, seed) for rows in every for seed in range(DRAWS)]
            each = np.array([[one.one, one.least, one.used, one.best] for one in found]).T
            cells = (f"{row.mean():.2f} ({row.max():.2f})" for row in each)
            print(f"| {kind} | {classes} × {shots} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
