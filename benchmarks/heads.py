"""Speed of fit and predict for every kind of head, compared with its scikit-learn counterpart in the same run.

    python -m benchmarks.heads [--store STORE --task TASK] [--repeats 3] [--kinds linear fusion …]

The data are synthetic float32 vectors of 10 classes, with the size of lite0's vectors of cifar10 (7,000 × 1280 training
rows, 3,000 test rows), or a task in a store with vectors of lite0, lite1 and lite2. Both sides get the same rows, and
the same values of the settings that both have. They take turns, and medians are compared. The ratio is scikit-learn's
time over ours. The accuracy on test rows is printed too, because a fast but wrong head is useless. scikit-learn has no
counterpart of zeroshot, bilinear and decoder.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from benchmarks.measure import machine
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.mixture import MixtureClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from store import Store

TRAINING, TESTING, DIM, CLASSES, BLOCKS = 7_000, 3_000, 1280, 10, 3
SHRINKAGE, COMPONENTS, PENALTY = 0.3, 2, 0.01
WARM = 300


@dataclass(frozen=True)
class Data:
    """Training and test rows with the columns of several encoders; `narrow` has only those of the first encoder."""

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    T: NDArray[np.float32]
    truth: NDArray[np.int64]
    edges: tuple[int, ...]

    @property
    def narrow(self) -> "Data":
        return Data(
            self.X[:, : self.edges[1]].copy(), self.y, self.T[:, : self.edges[1]].copy(), self.truth, self.edges[:2]
        )


class MixturePerClass(ClassifierMixin, BaseEstimator):
    """One scikit-learn GaussianMixture for each class, as one would write without this project."""

    def fit(self, X: NDArray[Any], y: NDArray[np.int64]) -> "MixturePerClass":
        self.classes_ = np.unique(y)
        made = [GaussianMixture(COMPONENTS, covariance_type="spherical", random_state=0) for _ in self.classes_]
        wide = X.astype(np.float64)  # float32 can give negative variances
        self.models_ = [model.fit(wide[y == k]) for model, k in zip(made, self.classes_, strict=True)]
        self.priors_ = np.log([np.mean(y == k) for k in self.classes_])
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[np.int64]:
        wide = X.astype(np.float64)
        scores = np.stack([model.score_samples(wide) for model in self.models_], axis=1) + self.priors_
        return np.asarray(self.classes_[scores.argmax(axis=1)])


class EachLabel(ClassifierMixin, BaseEstimator):
    """`LabelwiseClassifier`, which expects rows with any number of labels, for rows with exactly one class."""

    def fit(self, X: NDArray[Any], y: NDArray[np.int64]) -> "EachLabel":
        self.classes_ = np.unique(y)
        self.head_ = LabelwiseClassifier(C=PENALTY).fit(X, y[:, None] == self.classes_).head_
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[np.int64]:
        return np.asarray(self.classes_[self.head_.scores(X).argmax(axis=1)])


def pairs(edges: tuple[int, ...]) -> dict[str, tuple[Any, Any]]:
    """Return {kind: (our estimator, scikit-learn's)}, unfitted."""
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    logistic = LogisticRegression(C=PENALTY, max_iter=1000)
    return {
        "gaussian tied": (GaussianClassifier(shrinkage=SHRINKAGE), lda),
        "gaussian full": (
            GaussianClassifier("full", shrinkage=SHRINKAGE),
            QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE),
        ),
        "gaussian diag": (GaussianClassifier("diag", shrinkage=1e-3), GaussianNB()),
        "mixture, closed form": (MixtureClassifier(components=COMPONENTS, C=0), MixturePerClass()),
        "mixture": (MixtureClassifier(components=COMPONENTS), MixturePerClass()),
        "linear": (LinearClassifier(C=PENALTY), make_pipeline(StandardScaler(), logistic)),
        "labelwise": (EachLabel(), make_pipeline(StandardScaler(), OneVsRestClassifier(logistic))),
        "fusion": (
            FusionClassifier("stack", member_params={"shrinkage": SHRINKAGE}, blocks=edges),
            stacking(edges, lda),
        ),
    }


def stacking(edges: tuple[int, ...], member: Any) -> StackingClassifier:
    """Return scikit-learn's fusion: a member for each block, and logistic regression on out-of-fold probabilities."""
    blocks = [
        make_pipeline(FunctionTransformer(columns, kw_args={"start": start, "end": end}), member)
        for start, end in pairwise(edges)
    ]
    return StackingClassifier([(str(number), block) for number, block in enumerate(blocks)], cv=5)


def columns(X: NDArray[Any], start: int, end: int) -> NDArray[Any]:
    return X[:, start:end]


def synthetic() -> Data:
    """Return rows of overlapping classes on correlated columns, as wide as three encoders."""
    rng = np.random.default_rng(0)
    count = TRAINING + TESTING
    codes = rng.integers(0, CLASSES, count)
    parts = []
    for _ in range(BLOCKS):
        mixing = (np.eye(DIM) + rng.normal(size=(DIM, DIM)) / np.sqrt(DIM)).astype(np.float32)
        means = 0.1 * rng.standard_normal((CLASSES, DIM), dtype=np.float32)
        parts.append((rng.standard_normal((count, DIM), dtype=np.float32) + means[codes]) @ mixing)
    X = np.concatenate(parts, axis=1)
    edges = tuple(range(0, BLOCKS * DIM + 1, DIM))
    return Data(X[:TRAINING], codes[:TRAINING], X[TRAINING:], codes[TRAINING:], edges)


def stored(uri: str, task: str) -> Data:
    """Return the splits `train` and `test` of a task, with vectors of lite0, lite1 and lite2."""
    encoders = ("lite0", "lite1", "lite2")
    matrix = Store.open(uri, must_exist=True).matrix(task, encoders, splits=("train", "test"))
    train, test = matrix.splits == "train", matrix.splits == "test"
    edges = (0, *(matrix.blocks[encoder].stop for encoder in encoders))
    return Data(matrix.X[train], matrix.codes[train], matrix.X[test], matrix.codes[test], edges)


def seconds(run: Callable[[], object]) -> float:
    """Return the seconds of one run, after a pause in which the BLAS threads of the run before stop spinning."""
    time.sleep(0.2)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(name: str, ours: Any, theirs: Any, data: Data, repeats: int) -> str:
    """Return one row of the table: medians of fit and predict for both sides, ratios, accuracies."""
    times: dict[tuple[int, str], list[float]] = {}
    for estimator in (ours, theirs):
        with suppress(np.linalg.LinAlgError):  # scikit-learn's QDA fails on so few rows
            estimator.fit(data.X[:WARM], data.y[:WARM])  # imports and first calls of libraries are not timed
    for _ in range(repeats):
        for side, estimator in enumerate((ours, theirs)):
            for what, run in (
                ("fit", lambda e=estimator: e.fit(data.X, data.y)),
                ("predict", lambda e=estimator: e.predict(data.T)),
            ):
                times.setdefault((side, what), []).append(seconds(run))
    median = {key: statistics.median(each) for key, each in times.items()}
    cells = [name]
    for what in ("fit", "predict"):
        mine, other = median[0, what], median[1, what]
        cells.append(f"{mine:.3f} s, {other:.3f} s: {other / mine:.1f} ×")
    cells += [f"{np.mean(estimator.predict(data.T) == data.truth):.3f}" for estimator in (ours, theirs)]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store")
    parser.add_argument("--task", default="cifar10_10k")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kinds", nargs="+")
    options = parser.parse_args()
    print(machine())
    data = stored(options.store, options.task) if options.store else synthetic()
    sizes = f"{len(data.X):,} training rows, {len(data.T):,} test rows"
    print(f"{sizes}, {data.edges[1]} columns; fusion: {len(data.edges) - 1} blocks, {data.edges[-1]} columns")
    print("| kind | fit: ours, scikit-learn's | predict | accuracy, ours | scikit-learn's |\n|---|---|---|---|---|")
    narrow = data.narrow
    warnings.filterwarnings("ignore", module="sklearn")  # about variances; the accuracies show the effect
    for name, (ours, theirs) in pairs(data.edges).items():
        if not options.kinds or name in options.kinds:
            chosen = data if name == "fusion" else narrow
            print(compare(name, ours, theirs, chosen, options.repeats), flush=True)
    print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
