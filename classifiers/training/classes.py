"""Training of the kinds of heads that give each row exactly one class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.calibration import fit_temperature
from classifiers.evaluation.chance import doubt_of_classes, imbalance, too_few_rows
from classifiers.evaluation.figures import Evaluation, summarise
from classifiers.evaluation.outcomes import Outcomes
from classifiers.evaluation.reports.fusion import FusionReport
from classifiers.fit.base import HeadClassifier
from classifiers.heads.base import Head, probabilities
from classifiers.training.calibrate import calibrate, outcomes_of, tempered
from classifiers.training.kind import Calibrated, Kind
from classifiers.training.learning.learn import Without, validated_rows
from classifiers.training.notes import calibration_notes
from classifiers.training.rows.folds import By
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned, Scored, scored
from classifiers.training.rows.task_rows import FOLDS, LEAST_CROSSED

CROSS_VALIDATION = "cross-validation"
"""Name of the held-out training rows in reports and metrics."""


def trained_classes(_: HeadClassifier, rows: Rows) -> tuple[str, ...]:
    """Return the classes of the training rows."""
    return rows.classes()


def few_folds(rows: Rows, counts: Sequence[int]) -> Sequence[Rows]:
    """Return views with folds of fewer than `LEAST_CROSSED` training rows held out, as many rows of each class.

    Args:
        counts: training rows of each class. There are as many folds as the largest class has rows, but at most `FOLDS`,
            and none if it has one row.
    """
    count = min(FOLDS, max(counts))
    if count < 2 or sum(counts) >= LEAST_CROSSED:
        return ()
    return rows.folds(count, "groups" if rows.grouped else "rows")


@dataclass(frozen=True, slots=True)
class ClassKind(Kind[Head]):
    """A kind of head for rows with exactly one class.

    Attributes:
        learn: (estimator, rows, classes) → what the estimator learned from the training rows. It may choose parameters
            of the estimator, which `without` then uses too.
        without: (estimator, head that it learned, rows with a fold held out) → the head without that fold.
        classes: (estimator, rows) → the classes to learn, sorted.
    """

    estimator: type[HeadClassifier]
    defaults: Mapping[str, Any]
    learn: Callable[[Any, Rows, tuple[str, ...]], Learned[Head]]
    without: Without
    classes: Callable[[Any, Rows], tuple[str, ...]] = trained_classes
    parallel: bool = False
    compare: Callable[[Any, Rows, Any], dict[str, FusionReport]] | None = None
    targets: ClassVar[Literal["one", "any"]] = "one"
    held_out: ClassVar[str] = CROSS_VALIDATION

    def learned(self, estimator: Any, rows: Rows) -> Learned[Head]:
        classes = self.classes(estimator, rows)
        if estimator.needs_texts:
            rows.require_texts()
        learned = self.learn(estimator, rows, classes)
        if learned.validated is None:
            learned = replace(learned, validated=validated_rows(self.without, estimator, rows, learned.head))
        few = () if learned.validated else few_folds(rows, learned.counts)
        return (
            replace(learned, few=validated_rows(self.without, estimator, rows, learned.head, few)) if few else learned
        )

    def calibrated(self, rows: Rows, learned: Learned[Head], seed: int) -> Calibrated[Head]:
        note = tuple(calibration_notes(rows, learned, on_val=self.validates(rows)))
        if not learned.validated:
            return Calibrated(tempered(learned, rows) if any(learned.counts) else learned.head, notes=note)
        head, outcomes, conformal = calibrate(learned.head, learned.validated)
        figures = summarise(outcomes, head.classes, seed=seed)
        seen = np.array(learned.counts) if any(learned.counts) else figures.support
        majority, named = int(seen.argmax()), "validation rows" if rows.has_validation else "training rows"
        doubt, few = doubt_of_classes(figures, majority), too_few_rows(figures, majority, named)
        said = filter(None, (few, imbalance(figures, head.settings()), *note))
        return Calibrated(head, figures, conformal, (doubt,) if doubt else (), tuple(said))

    @property
    def figure(self) -> tuple[str, Callable[[Scored], float]]:
        return "accuracy", lambda found: float(np.mean(found.scores.argmax(axis=1) == found.truth))

    def crossed(self, estimator: Any, rows: Rows, head: Head, by: By) -> Sequence[Scored]:
        if estimator.needs_texts:  # a head of texts cannot forget a fold
            return ()
        return validated_rows(self.without, estimator, rows, head, rows.crossed(by))

    def learn_again(self, estimator: Any, rows: Rows, classes: tuple[str, ...]) -> Head:
        return self.learn(estimator, rows, classes).head

    def probabilities(
        self, rows: Rows, head: Head, split: str, classes: tuple[str, ...]
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        columns, temperature = np.searchsorted(np.array(classes), np.array(head.classes)), None
        for ids, X, codes in rows.batches(split, classes):
            scores = np.full((len(X), len(classes)), -np.inf, np.float32)
            scores[:, columns] = head.scores(X)
            if temperature is None:
                temperature = fit_temperature(scores[codes >= 0], codes[codes >= 0])
            yield ids, probabilities(scores, head.link, temperature)

    def batches(
        self, rows: Rows, split: str, classes: tuple[str, ...]
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        for ids, X, _ in rows.batches(split, classes):
            yield ids, X

    def evaluate(self, rows: Rows, head: Head, split: str, seed: int) -> Evaluation | None:
        parts = [outcomes_of(head, part) for part in scored(rows, head, split)]
        return summarise(Outcomes.concatenate(parts), head.classes, seed=seed) if parts else None
