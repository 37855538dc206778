"""Learning from one pass over the rows, in statistics from which the rows of a fold can be subtracted."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from sklearn.base import clone

from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.parallel import Batch, Gathering, gather
from classifiers.fit.gaussian.shrinkage import choose_shrinkage
from classifiers.heads.base import Head
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform
from classifiers.training.learning.tuning import AUTO, tuning_rows
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Elsewhere, Rows
from classifiers.training.rows.scored import Learned, Scored


def learn_streamed(estimator: GaussianClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn from one pass over the training rows, with a few batches of them in memory at a time."""
    ids: list[str] = []

    def batches() -> Iterator[Batch]:
        ids.clear()  # a covariance or transform may take a second pass
        seen = np.zeros(len(classes), np.bool_)
        for some, X, codes in rows.batches("train", classes):
            ids.extend(some)
            seen[codes[codes >= 0]] = True
            yield Batch(X, codes)
        require_present(rows, classes, np.flatnonzero(seen))  # before a transform is learned from no row

    tuned, validated = estimator.shrinkage == AUTO, None
    estimator.set_params(shrinkage="oas" if tuned else estimator.shrinkage, blocks=rows.edges())
    gathering = gather if rows.elsewhere is None else _by_others(rows.elsewhere, rows, classes, ids)
    gathered, transform = estimator.gather(batches, len(classes), rows.dim, gathering)
    present = np.flatnonzero(gathered.present)
    names = require_present(rows, classes, present)
    statistics = gathered.select(present)
    if tuned:
        shrinkage, validated = tuned_shrinkage(statistics, estimator, transform, rows, names)
        estimator.set_params(shrinkage=shrinkage)
    settled = estimator.settled(batches, gathered, transform)
    settled = settled[present] if isinstance(settled, np.ndarray) and len(settled) > 1 else settled
    estimator.fit_statistics(statistics, names, transform, settled)
    counts = statistics.counts.astype(int).tolist()
    return Learned(estimator.head_, tuple(counts), sum(counts), ids, classes, validated)


def _by_others(elsewhere: Elsewhere, rows: Rows, classes: tuple[str, ...], ids: list[str]) -> Gathering:
    """Return a function like `gather` that lets other processes do the work, and puts the rows' ids into `ids`."""

    def gathering(_: Iterable[Batch], __: int, transform: Transform, moment: Moment) -> GaussianStatistics:
        statistics, ids[:] = elsewhere(rows, classes, transform, moment)
        return statistics

    return gathering


class Tuned(NamedTuple):
    """A shrinkage for training rows, or "oas" if there is nothing to choose on.

    Attributes:
        validated: validation rows with scores that are independent of the choice. None without validation rows, and if
            the head's own scores can be used, see `classifiers.evaluation.choice`.
    """

    shrinkage: float | Literal["oas"]
    validated: list[Scored] | None = None


def tuned_shrinkage(
    statistics: GaussianStatistics,
    estimator: GaussianClassifier,
    transform: Transform,
    rows: Rows,
    classes: tuple[str, ...],
) -> Tuned:
    """Choose the shrinkage with the least NLL on the first validation rows (see `tuning.TUNING_ROWS`).

    Without validation rows, the result is the median of the best shrinkages of the folds. The statistics of the other
    folds are `statistics` minus those of the fold.
    """
    model, chosen, validated = estimator.model(classes), [], None
    for view in rows.validations():
        learned = statistics
        X, codes = view.first("val", classes, tuning_rows(len(classes)))
        if view is not rows:
            learned = statistics.subtract(held_out(view, classes, transform, statistics.moment))
        known = learned.present[codes]
        if known.any() and learned.covariance().any():
            shrinkage, left_out = choose_shrinkage(learned, model, transform(X[known]), codes[known])
            chosen.append(shrinkage)
            if view is rows and left_out is not None:
                validated = [Scored(left_out, codes[known])]
    return Tuned(float(np.median(chosen)) if chosen else "oas", validated)


def held_out(fold: Rows, classes: tuple[str, ...], transform: Transform, moment: Moment) -> GaussianStatistics:
    """Return the statistics of the rows of a held-out fold."""
    batches = (Batch(X, codes) for _, X, codes in fold.batches("val", classes))
    return gather(batches, len(classes), transform, moment)


def without_statistics(estimator: GaussianClassifier, head: GaussianHead, fold: Rows) -> GaussianHead:
    """Return a head without the rows of a fold, from its statistics alone, with the same transform and shrinkage.

    Raises NotTrainable.
    """
    rest = head.statistics.subtract(held_out(fold, head.classes, head.transform, head.statistics.moment))
    present = np.flatnonzero(rest.present)
    used = np.asarray(head.settings()["shrinkage_used"])
    fresh: GaussianClassifier = clone(estimator)
    names = [head.classes[k] for k in present]
    return fresh.fit_statistics(rest.select(present), names, head.transform, used[present] if used.ndim else used).head_
