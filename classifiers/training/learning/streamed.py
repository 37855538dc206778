"""Learning from one pass over the rows, in statistics from which the rows of a fold can be subtracted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.fit.gaussian.estimator import GaussianClassifier, Shrinkage
from classifiers.fit.gaussian.parallel import Batch, Gathering, gather
from classifiers.fit.gaussian.shrinkage import choose_shrinkage, rotatable, solver
from classifiers.fit.row_space import row_space
from classifiers.fit.transform import TransformPlan
from classifiers.heads.base import Head
from classifiers.heads.gaussian.discriminant import GaussianModel
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform
from classifiers.training.learning.tuning import AUTO, tuning_rows
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Elsewhere, Rows
from classifiers.training.rows.scored import Learned, Scored
from classifiers.training.rows.units import WithUnits, too_wide


def learn_streamed(estimator: GaussianClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn from one pass over the training rows, with a few batches of them in memory at a time."""
    ids: list[str] = []

    def batches() -> Iterator[Batch]:
        ids.clear()  # a covariance or transform may take a second pass
        seen = np.zeros(len(classes), np.bool_)
        for some, X, codes in rows.training(classes):
            ids.extend(some)
            seen[codes[codes >= 0]] = True
            yield Batch(X, codes)
        require_present(rows, classes, np.flatnonzero(seen))  # before a transform is learned from no row

    tuned = estimator.shrinkage == AUTO
    estimator.set_params(shrinkage="oas" if tuned else estimator.shrinkage, blocks=rows.edges())
    with_units = _with_units(rows, estimator)
    gathering = with_units or gather if rows.elsewhere is None else _by_others(rows.elsewhere, rows, classes, ids)
    gathered, transform = estimator.gather(batches, len(classes), rows.dim, gathering)
    present = np.flatnonzero(gathered.present)
    names = require_present(rows, classes, present)
    statistics = gathered.select(present)
    trainings = Trainings.of(statistics, estimator, transform, rows, names)
    chosen = trainings.tuned() if tuned else Tuned(estimator.shrinkage)
    estimator.set_params(shrinkage=chosen.shrinkage)
    settled = estimator.settled(batches, gathered, transform)
    settled = settled[present] if isinstance(settled, np.ndarray) and len(settled) > 1 else settled
    estimator.fit_statistics(statistics, names, transform, settled)
    validated = chosen.validated
    if rows.validations() and not rows.has_validation:
        validated = trainings.unseen(estimator.head_.settings()["shrinkage_used"])
    counts = statistics.counts.astype(int).tolist()
    units = with_units.units.select(present) if with_units and with_units.units else None
    return Learned(estimator.head_, tuple(counts), sum(counts), ids, classes, validated, units=units)


def _with_units(rows: Rows, estimator: GaussianClassifier) -> WithUnits | None:
    """Return a function that also gathers what an outlier detector learns from; None if the pass shall not do that."""
    alone = rows.elsewhere is None and not TransformPlan.of(estimator).learned  # which takes other passes
    return WithUnits(rows) if rows.units and alone and not too_wide(rows) else None


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

    shrinkage: Shrinkage
    validated: list[Scored] | None = None


@dataclass(frozen=True, slots=True)
class Trainings:
    """The statistics of the training rows, from which those of every fold are subtracted, so each row is read once.

    If there are fewer rows than columns, and the model allows it (see `rotatable`), the statistics are those of the
    rows' coordinates in the space that they span. For 1,000 rows of 3,840 columns, a solution then takes a fiftieth of
    the time, and is the same.

    Attributes:
        statistics: of the transformed rows, or of their coordinates.
        transform: of vectors, to transformed rows or coordinates.
        dim: width of the transformed rows.
        rows: the rows, with vectors and folds.
        classes: classes of the statistics, sorted.
    """

    statistics: GaussianStatistics
    model: GaussianModel
    transform: Transform
    dim: int
    rows: Rows
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        statistics: GaussianStatistics,
        estimator: GaussianClassifier,
        transform: Transform,
        rows: Rows,
        classes: tuple[str, ...],
    ) -> Self:
        """Return the statistics as they are, or those of coordinates where that costs less."""
        model, dim = estimator.model(classes, 0.0), statistics.dim
        if rotatable(model) and not transform.relu and statistics.rows < dim and rows.validations():
            basis = row_space(np.concatenate([transform(X) for X, _ in rows.known("train", classes)]))
            transform = transform.then(basis)
            known = (Batch(X, codes) for X, codes in rows.known("train", classes))
            statistics = gather(known, len(classes), transform, "shared")
        return cls(statistics, model, transform, dim, rows, classes)

    def tuned(self) -> Tuned:
        """Choose the shrinkage with the least NLL on the first validation rows (see `tuning.TUNING_ROWS`).

        Without validation rows, the result is the median of the best shrinkages of the folds.
        """
        chosen, validated = [], None
        for view in self.rows.validations():
            learned = self.without(view)
            X, codes = view.first("val", self.classes, tuning_rows(len(self.classes)))
            known = learned.present[codes]
            if known.any() and learned.covariance().any():
                Z, truth = self.transform(X[known]), codes[known]
                shrinkage, left_out = choose_shrinkage(learned, self.model, Z, truth, self.dim)
                chosen.append(shrinkage)
                if view is self.rows and left_out is not None:
                    validated = [Scored(left_out, truth)]
        return Tuned(float(np.median(chosen)) if chosen else "oas", validated)

    def unseen(self, shrinkage: Any) -> list[Scored]:
        """Return the validation rows, or the rows of every fold scored without it; empty if a fold leaves too few rows.

        Args:
            shrinkage: one number, or one for each class.
        """
        parts: list[Scored] = []
        for view in self.rows.validations():
            learned = self.without(view)
            if np.count_nonzero(learned.present) < 2:
                return []
            try:
                scores = solver(learned, self.model, self.dim)(np.asarray(shrinkage)).astype(np.float32)
            except NotTrainable:
                return []
            centre = learned.centre().astype(np.float32)
            for X, codes in view.known("val", self.classes):
                if not (known := learned.present[codes]).any():
                    continue
                parts.append(Scored(scores(self.transform(X[known]) - centre), codes[known]))
        return parts

    def without(self, view: Rows) -> GaussianStatistics:
        """Return the statistics without the rows that a view holds out."""
        if view is self.rows:
            return self.statistics
        return self.statistics.subtract(held_out(view, self.classes, self.transform, self.statistics.moment))


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
