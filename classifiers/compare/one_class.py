"""Heads that give each row one class, in a comparison: how they are learned, and the simplest control."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from classifiers.compare.candidates import MAJORITY, Candidate
from classifiers.errors import BadParameter
from classifiers.evaluation.outcomes import Outcomes
from classifiers.heads.base import Head
from classifiers.heads.linear import LinearHead
from classifiers.training.calibrate import outcomes_of
from classifiers.training.kinds import CLASS_KINDS, make_estimator
from classifiers.training.learning.learn import validated_rows
from classifiers.training.learning.tuning import AUTO
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Scored, scored

STORED = {field.name: field.name for field in fields(Outcomes)} | {"uncalibrated": "plain"}
"""Names of the arrays on disk, by field of `Outcomes`."""


def learn(candidate: Candidate, rows: Rows, classes: tuple[str, ...]) -> tuple[Head, Sequence[Scored]]:
    """Return the uncalibrated head of a candidate, and its scored validation rows."""
    if candidate.kind == MAJORITY:
        head = majority(rows, classes)
        return head, [part for view in rows.validations() for part in scored(view, head, "val")]
    estimator = make_estimator(candidate.kind, candidate.params)
    if candidate.kind not in CLASS_KINDS:
        raise BadParameter(
            f"kind {candidate.kind!r} gives a row any number of labels; a comparison needs kinds that give exactly one "
            f"class: {', '.join(CLASS_KINDS)}"
        )
    kind = CLASS_KINDS[candidate.kind]
    learned = kind.learn(estimator, rows, classes)
    if learned.validated is not None and learned.unseen:
        return learned.head, learned.validated
    return learned.head, validated_rows(kind.without, estimator, rows, learned.head)


def learned_head(candidate: Candidate, settings: Mapping[str, Any], rows: Rows, classes: tuple[str, ...]) -> Head:
    """Return the uncalibrated head of a candidate, with the parameters that training chose before.

    Args:
        settings: settings of the head that was trained before.
    """
    if candidate.kind == MAJORITY:
        return majority(rows, classes)
    estimator = make_estimator(candidate.kind, candidate.params)
    asked = [name for name, value in estimator.get_params().items() if isinstance(value, str) and value == AUTO]
    chosen = {name: settings[name] for name in asked if name in settings}
    return CLASS_KINDS[candidate.kind].learn(estimator.set_params(**chosen), rows, classes).head


def outcomes_on(rows: Rows, head: Head, split: str) -> Outcomes:
    """Return the outcomes of a calibrated head on a split that has at least one row of its classes."""
    return Outcomes.concatenate([outcomes_of(head, part) for part in scored(rows, head, split)])


def majority(rows: Rows, classes: tuple[str, ...]) -> LinearHead:
    """Return a head that gives every vector the classes' shares of the training rows, held-out folds included."""
    present, counts = np.unique(rows.matrix("train", classes).codes, return_counts=True)
    names = require_present(rows, classes, present)
    weights = np.zeros((len(names), rows.dim), np.float32)
    return LinearHead(names, weights, np.log(counts / counts.sum()).astype(np.float32))
