"""Learning from all training rows at once, in memory, and scoring rows that a head did not learn from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.fit.base import HeadClassifier
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.heads.base import Head
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned, Scored, scored

Without = Callable[[Any, Any, Rows], Head]
"""(estimator, head that it learned, rows with a fold held out) → the head without that fold. Raises NotTrainable."""


def learn_in_memory(estimator: HeadClassifier, rows: Rows, classes: tuple[str, ...], **more: Any) -> Learned[Head]:
    """Learn from all training rows at once, with `more` arguments of `fit`.

    Memory: n × d × 4 bytes, and the solver's own.
    """
    matrix = rows.matrix("train", classes)
    present, counts = np.unique(matrix.codes, return_counts=True)
    require_present(rows, classes, present)
    estimator.set_params(blocks=rows.edges())
    texts = {"text": rows.embed_texts} if estimator.needs_texts else {}
    estimator.fit(matrix.X, np.array(classes)[matrix.codes], **texts, **more)
    return Learned(estimator.head_, tuple(counts.tolist()), len(matrix.ids), matrix.ids, classes)


def relearned(estimator: HeadClassifier, head: Head, fold: Rows) -> Head:
    """Return the head learned anew without a fold, for heads whose rows cannot be subtracted. Raises NotTrainable."""
    return learn_in_memory(clone(estimator), fold, head.classes).head


def validated_rows(
    without: Without, estimator: HeadClassifier, rows: Rows, head: Head, views: Sequence[Rows] | None = None
) -> list[Scored]:
    """Return the validation rows, scored by heads that did not learn from them.

    If the task has validation rows, `head`, which `estimator` learned, scores them. Otherwise the training rows are
    held out fold by fold, and heads learned from the other folds with the same settings score them. The result is
    empty if there are too few rows for that.

    Args:
        views: the folds to hold out; None for `rows.validations()`.
    """
    parts: list[Scored] = []
    for view in rows.validations() if views is None else views:
        try:
            tested = head if view is rows else without(estimator, head, view)
        except NotTrainable:
            return []
        parts += [part.aligned(tested.classes, head.classes) for part in scored(view, tested, "val")]
    return parts


def learn_fusion(estimator: FusionClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn a fused head. Without validation rows, it is calibrated on the scores that its rule was fitted on.

    If the rows have groups, it is fused anew for each fold instead, because the members' folds ignore groups.

    No member learned from the rows of these scores, and the rule learns a few numbers from hundreds of rows, so one row
    hardly changes them. Fusing anew fold by fold would take five times as long.
    """
    learned = learn_in_memory(estimator, rows, classes)
    if rows.has_validation or rows.grouped or not rows.validations() or not estimator.measured_.any():
        return learned
    measured, codes = estimator.measured_, estimator.out_of_fold_.codes
    return replace(learned, validated=[Scored(estimator.fused_[measured], codes[measured])], unseen=False)
