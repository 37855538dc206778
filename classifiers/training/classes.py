"""Training of the kinds of heads that give each row exactly one class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from classifiers.evaluation.chance import doubt_of_classes, too_few_rows
from classifiers.evaluation.figures import Evaluation, summarise
from classifiers.evaluation.outcomes import Outcomes
from classifiers.evaluation.reports.fusion import FusionReport
from classifiers.fit.base import HeadClassifier
from classifiers.heads.base import Head
from classifiers.training.calibrate import calibrate, outcomes_of
from classifiers.training.kind import Calibrated, Kind
from classifiers.training.learning.learn import Without, validated_rows
from classifiers.training.notes import calibration_note
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned, scored

CROSS_VALIDATION = "cross-validation"
"""Name of the held-out training rows in reports and metrics."""


def trained_classes(_: HeadClassifier, rows: Rows) -> tuple[str, ...]:
    """Return the classes of the training rows."""
    return rows.classes()


@dataclass(frozen=True, slots=True)
class ClassKind(Kind[Head]):
    """A kind of head for rows with exactly one class.

    Attributes:
        learn: (estimator, rows, classes) → what the estimator learned from the training rows. It may choose parameters
            of the estimator, which `without` then uses too.
        without: (estimator, head that it learned, rows with a fold held out) → the head without that fold.
        classes: (estimator, rows) → the classes to learn, sorted.
        texts: True if the kind needs vectors of texts.
    """

    estimator: type[HeadClassifier]
    defaults: Mapping[str, Any]
    learn: Callable[[Any, Rows, tuple[str, ...]], Learned[Head]]
    without: Without
    classes: Callable[[Any, Rows], tuple[str, ...]] = trained_classes
    texts: bool = False
    parallel: bool = False
    compare: Callable[[Any, Rows, Any], dict[str, FusionReport]] | None = None
    targets: ClassVar[Literal["one", "any"]] = "one"
    held_out: ClassVar[str] = CROSS_VALIDATION

    def learned(self, estimator: Any, rows: Rows) -> Learned[Head]:
        classes = self.classes(estimator, rows)
        if self.texts:
            rows.require_texts()
        learned = self.learn(estimator, rows, classes)
        if learned.validated is not None:
            return learned
        return replace(learned, validated=validated_rows(self.without, estimator, rows, learned.head))

    def calibrated(self, rows: Rows, learned: Learned[Head], seed: int) -> Calibrated[Head]:
        note = tuple(calibration_note(rows, learned))
        if not learned.validated:
            return Calibrated(learned.head, notes=note)
        head, outcomes, conformal = calibrate(learned.head, learned.validated)
        figures = summarise(outcomes, head.classes, seed=seed)
        seen = np.array(learned.counts) if any(learned.counts) else figures.support
        majority, named = int(seen.argmax()), "validation rows" if rows.labelled("val").num_rows else "training rows"
        doubt, few = doubt_of_classes(figures, majority), too_few_rows(figures, majority, named)
        return Calibrated(head, figures, conformal, (doubt,) if doubt else (), (few, *note) if few else note)

    def evaluate(self, rows: Rows, head: Head, split: str, seed: int) -> Evaluation | None:
        parts = [outcomes_of(head, part) for part in scored(rows, head, split)]
        return summarise(Outcomes.concatenate(parts), head.classes, seed=seed) if parts else None
