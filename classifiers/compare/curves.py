"""Accuracy or mAP against the number of principal components, which are computed once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.parallel import Batch
from classifiers.fit.multilabel.bank.ridge import PENALTIES, Fit
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.fit.transform import TransformPlan
from classifiers.heads.gaussian.covariance import oas_shrinkage
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform
from classifiers.training.learning.streamed import Trainings
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Rows

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Shares of the variance for which a point is computed."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The accuracy or mAP, in 0…1, with a number of components that explains at least `share` of the variance."""

    share: float
    components: int
    value: float


def pca_curve(rows: Rows, classes: Sequence[str], shares: Sequence[float] = SHARES) -> list[CurvePoint]:
    """Return the accuracy of `gaussian project=pca dims=share` on validation rows or folds, for all shares at once.

    The leading m × m corner of the statistics of all components is the statistics of the first m, so the rows are read
    and the components computed once. Raises NotTrainable.
    """

    def batches() -> Iterator[Batch]:
        return (Batch(X, codes) for _, X, codes in rows.batches("train", classes))

    present = np.unique(rows.matrix("train", classes).codes)
    names = require_present(rows, classes, present)
    estimator = GaussianClassifier(project="pca", dims="all", blocks=rows.edges())
    gathered, transform = estimator.gather(batches, len(classes), rows.dim)
    statistics = gathered.select(present)
    explained = np.cumsum(np.diag(statistics.total_covariance()))
    return [
        CurvePoint(share, count, accuracy_of(count, estimator, statistics, transform, rows, names))
        for share, count in components(explained, shares)
    ]


def components(explained: NDArray[np.float64], shares: Sequence[float]) -> Iterator[tuple[float, int]]:
    """Yield each share with the number of components for it, given the variance of the first 1, 2, … m of them."""
    for share in shares:
        wanted = int(np.searchsorted(explained, share * explained[-1] * (1 - 1e-12))) + 1
        yield share, min(wanted, len(explained))


def label_curve(rows: Rows, labels: Sequence[str], shares: Sequence[float] = SHARES) -> list[CurvePoint]:
    """Return the mAP of a ridge regression of the labels on validation rows or folds, for all shares.

    A ridge regression has a closed form, so the curve takes seconds; logistic regressions would take minutes. Its
    penalty is the best one of `PENALTIES` for each share. Raises NotTrainable.
    """
    training = rows.labelled_rows("train", labels)
    plan = TransformPlan.of(LabelwiseClassifier(project="pca", dims="all", blocks=rows.edges()))
    transform = plan.learn(training.X)
    variances = transform(training.X).var(axis=0, dtype=np.float64)
    views = [(view.labelled_rows("train", labels), view.labelled_rows("val", labels)) for view in rows.validations()]
    if not sum(len(held.ids) for _, held in views):
        raise NotTrainable("no validation row with a vector")
    scale = np.float32(1 / np.sqrt(variances.sum() or 1.0))  # rows of norm 1 on average, as the penalties expect
    parts = [(scale * transform(known.X), known.Y, scale * transform(held.X), held.Y) for known, held in views]
    truth = np.concatenate([Y for *_, Y in parts])
    points = []
    for share, count in components(np.cumsum(variances), shares):
        each = [Fit.of(X[:, :count], Y.astype(np.float32)).scores(V[:, :count], PENALTIES) for X, Y, V, _ in parts]
        figures = [mean_average_precision(np.concatenate(scores), truth) for scores in zip(*each, strict=True)]
        points.append(CurvePoint(share, count, max(figures)))
    return points


def accuracy_of(
    count: int,
    estimator: GaussianClassifier,
    statistics: GaussianStatistics,
    transform: Transform,
    rows: Rows,
    names: tuple[str, ...],
) -> float:
    """Return the validation accuracy with the first `count` components only, at the shrinkage that is best for them."""
    part = GaussianStatistics(statistics.counts, statistics.sums[:, :count], statistics.second[:count, :count])
    first = replace(transform, matrix=leading(transform.matrix, count), offset=leading(transform.offset, count))
    trainings = Trainings(part, estimator.model(names, 0.0), first, count, rows, names)
    tuned = trainings.tuned().shrinkage
    used = oas_shrinkage(part.covariance(), part.rows) if isinstance(tuned, str) else tuned
    parts = trainings.unseen(used)
    if not parts:
        raise NotTrainable("no validation row with a vector has a class of the training rows")
    return float(np.concatenate([part.scores.argmax(axis=1) == part.truth for part in parts]).mean())


def leading(array: NDArray[Any] | None, count: int) -> NDArray[Any] | None:
    return None if array is None else array[..., :count]
