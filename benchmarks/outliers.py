"""A comparison of outlier scores, coverage and size of prediction sets, and the time of one outlier score.

    python -m benchmarks.outliers --data FOLDER      with clothing10 and caltech99 as Parquet in FOLDER

All heads are of kind `gaussian` on lite0 vectors. The figures are measured on the split `test`; rows of the split `ood`
are out of distribution.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.measure import machine, timed, verdict
from classifiers.evaluation.conformal import SETS, aps_scores, keep, threshold
from classifiers.evaluation.trust import auroc
from classifiers.fit.outlier import left_out_scores
from classifiers.heads.gaussian.covariance import oas_shrinkage
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.outlier import OutlierDetector, PrecisionPair, doubt, inverse
from classifiers.heads.transform import unit_blocks
from classifiers.published.head import PublishedHead
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from classifiers.training.rows.folds import dealt
from classifiers.training.rows.task_rows import FOLDS
from embedder import registry
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.settings import Settings
from store import Label, Matrix, Store
from store.interchange import read_sources

Score = Callable[[NDArray[np.float32]], NDArray[np.float32]]

COVERAGES = (0.8, 0.9, 0.95)
LEAST = {"caltech99, backgrounds": 0.94, "caltech99, garments": 0.97, "clothing10, objects": 0.97}
"""AUROC that the published outlier score must reach."""
MOST_MILLISECONDS = 1.0
"""Maximum time for the score of one vector on one BLAS thread, as in the service."""


def labels_of(store: Store, task: str) -> list[Label]:
    table = store.labels.get(task).to_pydict()
    return [Label(*row) for row in zip(table["id"], table["labels"], table["split"], strict=True)]


def cases(store: Store) -> Iterator[str]:
    """Make tasks with out-of-distribution rows in the split `ood` from the stored ones; yield their names."""
    own = {
        task: [each for each in labels_of(store, task) if each.split != "ood"] for task in ("caltech99", "clothing10")
    }
    yield "caltech99, backgrounds"
    store.labels.put("caltech99, backgrounds", labels_of(store, "caltech99"))
    for task, other, what in (("caltech99", "clothing10", "garments"), ("clothing10", "caltech99", "objects")):
        store.labels.put(f"{task}, {what}", [*own[task], *(Label(each.id, ["x"], "ood") for each in own[other])])
        yield f"{task}, {what}"
    for task, every in own.items():
        unknown = sorted({each.labels[0] for each in every})[1::2]
        known = [each for each in every if each.labels[0] not in unknown]
        rest = [Label(each.id, ["x"], "ood") for each in every if each.labels[0] in unknown and each.split == "test"]
        store.labels.put(f"{task}, every second class", [*known, *rest])
        yield f"{task}, every second class"


def scores(training: Matrix, head: PublishedHead) -> Iterator[tuple[str, Score]]:
    """Yield the outlier scores to compare, by name; larger is further out of distribution. Heads use `RMD unit`."""
    for norm, edges in (("raw", ()), ("unit", (0, training.X.shape[1]))):
        X = unit_blocks(training.X, edges)
        statistics = GaussianStatistics.of(X, training.codes, len(training.classes))
        solved = PrecisionPair.of(statistics)
        yield f"MD {norm}", OutlierDetector.fold(statistics, solved, edges, relative=False).score
        yield f"RMD {norm}", OutlierDetector.fold(statistics, solved, edges).score
        total = GaussianStatistics.of(X, np.zeros_like(training.codes), 1).covariance()
        own = PrecisionPair(solved.within, inverse(total, oas_shrinkage(total, statistics.rows)), solved.shrinkage)
        yield f"RMD {norm}, two λ", OutlierDetector.fold(statistics, own, edges).score
    yield "probability", lambda X: doubt(head.head.predict_proba(X))
    yield "density", lambda X: -np.asarray(head.head.log_density(X))
    yield "best score", lambda X: -head.head.scores(X).max(axis=1)


def compare(store: Store, heads: Registry) -> list[str]:
    """Print the AUROC of each score in each case; return the verdicts on the published score."""
    found: dict[str, list[float]] = {}
    tasks = list(cases(store))
    verdicts = []
    for number, task in enumerate(tasks):
        name = f"case-{number}"
        served = train(store, heads, task=task, encoders=["lite0"], name=name).report.ood
        matrix = store.matrix(task, ["lite0"], classes=heads.load(name).head.classes)
        training, test, ood = (matrix.select(split) for split in ("train", "test", "ood"))
        for score, of in scores(training, heads.load(name)):
            found.setdefault(score, []).append(auroc(of(test.X), of(ood.X)))
        print(
            f"case {number}: {task}: {len(test.ids)} test rows, {len(ood.ids)} out-of-distribution (ood) rows; above "
            "percentile 95: ",
            end="",
        )
        print("{:.1%} of ood, {:.1%} of test".format(*served.flagged[95] if served else ()))
        if task in LEAST and served:
            verdicts.append(verdict(f"AUROC {task}", served.auroc["outlier"], LEAST[task], "", at_least=True))
    print("AUROC".ljust(18) + "".join(f"case {number}".rjust(9) for number in range(len(tasks))))
    for score, values in found.items():
        print(score.ljust(18) + "".join(f"{value:9.3f}" for value in values))
    return verdicts


def sets_of(store: Store, published: PublishedHead) -> None:
    """Print the share of test rows whose prediction set contains the true class, and the mean size of the sets."""
    test = store.matrix(published.manifest.task, ["lite0"], classes=published.head.classes).select("test")
    true = np.array(test.classes)[test.codes].tolist()
    for coverage in COVERAGES:
        line = f"{published.manifest.task} ({len(true)} rows), coverage {coverage}:"
        for kind in SETS:
            found = [answer.prediction_set or () for answer in published.answer(test.X, coverage=coverage, sets=kind)]
            held = np.mean([label in labels for label, labels in zip(true, found, strict=True)])
            line += f"  {kind} {held:.3f} with {np.mean([len(labels) for labels in found]):.2f} labels"
        print(line + f"  (aps with a share of 1: {whole_share(published, test, coverage)})")


def whole_share(published: PublishedHead, test: Matrix, coverage: float, draws: int = 50) -> str:
    """Return coverage and size of APS sets whose score includes the class itself, calibrated on halves of test."""
    proba = published.head.predict_proba(test.X)
    values, rng, found = aps_scores(proba) + proba, np.random.default_rng(0), []
    for _ in range(draws):
        mine = rng.random(len(values)) < 0.5
        true = values[np.arange(len(values)), test.codes]
        inside = values[~mine] <= threshold(keep(true[mine]), int(mine.sum()), coverage)
        inside[np.arange(len(inside)), proba[~mine].argmax(axis=1)] = True
        found.append((inside[np.arange(len(inside)), test.codes[~mine]].mean(), inside.sum(axis=1).mean()))
    return "{:.3f} with {:.2f}".format(*np.mean(found, axis=0))


def percentiles(store: Store) -> None:
    """Compare percentiles from left-out rows with those from five folds on caltech99, and print both."""
    matrix = store.matrix("caltech99", ["lite0"], splits=["train", "test"])
    training, test = matrix.select("train"), matrix.select("test")
    labelled = pa.table({"id": training.ids, "labels": training.labels})
    edges, n_classes = (0, matrix.X.shape[1]), len(matrix.classes)
    X, folds = unit_blocks(training.X, edges), dealt(labelled, FOLDS)
    statistics = GaussianStatistics.of(X, training.codes, n_classes)
    solved = PrecisionPair.of(statistics)
    folded = np.empty(len(X))
    for fold in range(folds.max() + 1):
        held = folds == fold
        rest = statistics.subtract(GaussianStatistics.of(X[held], training.codes[held], n_classes))
        folded[held] = OutlierDetector.fold(rest, PrecisionPair.of(rest), edges).score(training.X[held])
    scores = OutlierDetector.fold(statistics, solved, edges).score(test.X)
    left_out = left_out_scores(statistics, solved, X, training.codes)
    for name, own in (("left-out rows", left_out), ("five folds", folded)):
        above = ", ".join(
            f"{np.mean(scores > np.quantile(own, p)):.1%} above {p:.0%}" for p in (0.5, 0.8, 0.9, 0.95, 0.99)
        )
        print(f"test rows by percentiles from {name}: {above}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    print(machine())
    encoder = registry.load("lite0", backend=options.backend, cache_dir=Settings().cache)
    with TemporaryDirectory() as folder:
        store, heads = Store.open(Path(folder) / "headwater.db"), Registry(Path(folder) / "heads")
        for task in ("caltech99", "clothing10"):
            ingest(store, read_sources([options.data / f"{task}.parquet"]), task=task)
        backfill(store, encoder)
        for task in ("caltech99", "clothing10"):
            train(store, heads, task=task, encoders=["lite0"], name=task)
            sets_of(store, heads.load(task))
        percentiles(store)
        verdicts = compare(store, heads)
        detector = heads.load("caltech99").detector
        vector = store.matrix("caltech99", ["lite0"], splits=["test"]).X[:1]
        if detector:
            with threadpool_limits(1, user_api="blas"):
                milliseconds = 1e3 * float(np.median(timed(lambda: detector.score(vector), 300)))
            verdicts.append(verdict("one outlier score", milliseconds, MOST_MILLISECONDS, "ms", at_least=False))
    print("\n".join(verdicts))


if __name__ == "__main__":
    main()
