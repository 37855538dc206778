"""Accuracy against the number of principal components, from one pass over the rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.parallel import Batch
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
    """The accuracy, in 0…1, with a number of components that explains at least `share` of the variance."""

    share: float
    components: int
    accuracy: float


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
    points = []
    for share in shares:
        wanted = int(np.searchsorted(explained, share * explained[-1] * (1 - 1e-12))) + 1
        count = min(wanted, statistics.dim)
        points.append(CurvePoint(share, count, accuracy_of(count, estimator, statistics, transform, rows, names)))
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
