"""One candidate of a comparison: learned from the training rows, measured on validation and test rows."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.compare.candidates import MAJORITY, Candidate
from classifiers.errors import BadParameter, NotTrainable
from classifiers.evaluation.figures import Evaluation, summarise
from classifiers.evaluation.outcomes import Outcomes
from classifiers.heads.base import Head
from classifiers.heads.fusion.head import FusionHead
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.linear import LinearHead
from classifiers.heads.zeroshot import ZeroShotHead
from classifiers.training.calibrate import calibrate, outcomes_of
from classifiers.training.kinds import CLASS_KINDS, make_estimator
from classifiers.training.learning.learn import validated_rows
from classifiers.training.learning.tuning import AUTO
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Scored, scored


@dataclass(frozen=True, slots=True)
class Trial:
    """The results of a candidate on the validation rows, with calibrated probabilities.

    Attributes:
        parameters: count of the numbers that the head needs to score a vector.
        seconds: time to learn, choose and validate, in seconds.
        settings: settings of the head, including those that training chose.
    """

    candidate: Candidate
    outcomes: Outcomes
    evaluation: Evaluation
    temperature: float
    parameters: int
    seconds: float
    settings: Mapping[str, Any]


def examine(candidate: Candidate, rows: Rows, classes: tuple[str, ...], seed: int) -> tuple[Trial, Head]:
    """Learn a candidate and score the validation rows, or the training rows fold by fold.

    Returns the trial and the calibrated head. Raises NotTrainable, and any error of a fit.
    """
    start = time.perf_counter()
    head, parts = learn(candidate, rows, classes)
    if not parts:
        raise NotTrainable("no validation row, and too few training rows of each class to hold some out")
    calibrated, outcomes, _ = calibrate(head, parts)
    trial = Trial(
        candidate,
        outcomes,
        summarise(outcomes, head.classes, seed=seed),
        calibrated.temperature,
        len(head.classes) if candidate.kind == MAJORITY else scoring_parameters(head),
        time.perf_counter() - start,
        head.settings(),
    )
    return trial, calibrated


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


def relearned(trial: Trial, rows: Rows, classes: tuple[str, ...]) -> Head:
    """Return the calibrated head of a finished trial, learned again with the parameters that training chose."""
    return learned_head(trial, rows, classes).with_temperature(trial.temperature)


def learned_head(trial: Trial, rows: Rows, classes: tuple[str, ...]) -> Head:
    """Return the uncalibrated head of a finished trial, learned from other rows with the parameters it chose."""
    candidate = trial.candidate
    if candidate.kind == MAJORITY:
        return majority(rows, classes)
    estimator = make_estimator(candidate.kind, candidate.params)
    asked = [name for name, value in estimator.get_params().items() if isinstance(value, str) and value == AUTO]
    chosen = {name: trial.settings[name] for name in asked if name in trial.settings}
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


def scoring_parameters(head: Head) -> int:
    """Return how many numbers `head` needs to score a vector; statistics and folded arrays are not counted."""
    if isinstance(head, FusionHead):
        nested = head.members if head.joint is None else (head.joint,)
        return sum(map(scoring_parameters, nested)) + sum(array.size for array in head.combiner.arrays().values())
    if isinstance(head, ZeroShotHead):
        return len(head.classes) * (head.dim + 1)
    arrays = head.arrays()
    if isinstance(head, GaussianHead):
        kept = head.transform.rowwise if head.tied else head.transform
        arrays = head.quadratic.named() | kept.arrays()
        if not head.tied:
            arrays["centre"] = head.centre
    return sum(array.size for array in arrays.values())


STORED = {field.name: field.name for field in fields(Outcomes)} | {"uncalibrated": "plain"}
"""Names of the arrays on disk, by field of `Outcomes`."""


def save_outcomes(path: Path, outcomes: Outcomes) -> None:
    """Write outcomes as .npz, atomically."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **{stored: getattr(outcomes, name) for name, stored in STORED.items()})
    partial.replace(path)


def load_outcomes(path: Path) -> Outcomes:
    """Return the outcomes in a file of `save_outcomes`. Raises OSError, ValueError, KeyError for any other file."""
    with np.load(path, allow_pickle=False) as file:
        return Outcomes(**{name: file[stored] for name, stored in STORED.items()})
