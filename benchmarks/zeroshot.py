"""Test accuracy of class names alone, a Gaussian head alone, and both blended, with all training rows and with few.

    python -m benchmarks.zeroshot --store URI [--encoder lite0] TASK…

Blend and shrinkage are chosen on validation rows, or on folds if a task has none. With k training rows per class they
are chosen on folds of these rows, in five draws.
"""

import argparse

import numpy as np

from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.heads.zeroshot import ZeroShotHead
from classifiers.training.kinds import make_estimator
from classifiers.training.learning.few_shot import learn_named
from classifiers.training.rows.rows import Rows
from services.jobs.texts import text_sides
from services.settings import Settings
from store import Matrix, Store

SHOTS, DRAWS = (1, 2, 4, 16), 5
ENDS = (0.0, "gaussian", "auto")


def accuracies(estimator: ZeroShotClassifier, rows: Rows, test: Matrix) -> tuple[list[float], object]:
    """Return the test accuracy of the text part, of the Gaussian part and of the blend; and the chosen blend."""
    head = learn_named(estimator, rows, test.classes).head
    found = []
    for end in ENDS:
        settings = head.settings() if end == "auto" else {**head.settings(), "blend": end}
        again = ZeroShotHead(head.classes, head.arrays(), settings)
        found.append(float(np.mean(again.predict(test.X) == np.array(test.classes)[test.codes])))
    return found, head.settings()["blend"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("tasks", nargs="+")
    options = parser.parse_args()
    store = Store.open(options.store, must_exist=True)
    print("| task | rows a class | text | Gaussian | blend | α |\n|---|---|---|---|---|---|")
    for task in options.tasks:
        rows = Rows(store, task, (options.encoder,), store.snapshot(), texts=text_sides(store, Settings()))
        training, test = (rows.matrix(split, rows.classes()) for split in ("train", "test"))
        found, blend = accuracies(make_estimator("zeroshot", {"blend": "auto"}, rows.encoders), rows, test)
        print(f"| {task} | all | {' | '.join(f'{each:.3f}' for each in found)} | {blend} |", flush=True)
        for shots in SHOTS:
            draws, blends = [], []
            for draw in range(DRAWS):
                order = np.random.default_rng(draw).permutation(len(training.ids))
                kept = np.concatenate([order[training.codes[order] == k][:shots] for k in range(len(test.classes))])
                few = rows.narrowed(np.array(training.ids)[kept].tolist())
                estimator = make_estimator("zeroshot", {"blend": "auto"}, rows.encoders)
                found, blend = accuracies(estimator, few, test)
                draws.append(found)
                blends.append(str(blend))
            mean, spread = np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1)
            cells = " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True))
            print(f"| {task} | {shots} | {cells} | {', '.join(blends)} |", flush=True)


if __name__ == "__main__":
    main()
