"""One candidate of a comparison: learned from the training rows, and what it gives on validation and test rows."""

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
from classifiers.training.learn import validated_rows
from classifiers.training.present import require_present
from classifiers.training.rows import Rows
from classifiers.training.scored import Scored, scored


@dataclass(frozen=True, slots=True)
class Trial:
    """What a candidate gave on the validation rows, with calibrated probabilities.

    Attributes:
        parameters: numbers that its head needs to score a vector.
        seconds: to learn, choose and validate.
        settings: what the head says of itself: what was chosen on the way is among it.
    """

    candidate: Candidate
    outcomes: Outcomes
    evaluation: Evaluation
    temperature: float
    parameters: int
    seconds: float
    settings: Mapping[str, Any]


def examine(candidate: Candidate, rows: Rows, classes: tuple[str, ...], seed: int) -> tuple[Trial, Head]:
    """Learns a candidate and scores the validation rows, or the training rows fold by fold. Also its calibrated head.

    Raises NotTrainable, and whatever a fit raises.
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
    """A candidate's head, not calibrated, and its validation rows."""
    if candidate.kind == MAJORITY:
        head = majority(rows, classes)
        return head, [part for view in rows.validations() for part in scored(view, head, "val")]
    estimator = make_estimator(candidate.kind, candidate.params)
    if candidate.kind not in CLASS_KINDS:
        raise BadParameter(
            f"kind {candidate.kind!r} gives a row any number of labels; a comparison takes kinds that give exactly one "
            f"class: {', '.join(CLASS_KINDS)}"
        )
    kind = CLASS_KINDS[candidate.kind]
    learned = kind.learn(estimator, rows, classes)
    if learned.validated is not None and learned.unseen:
        return learned.head, learned.validated
    return learned.head, validated_rows(kind.without, estimator, rows, learned.head)


def relearned(trial: Trial, rows: Rows, classes: tuple[str, ...]) -> Head:
    """A candidate's calibrated head once more: fits give the same head again."""
    return learn(trial.candidate, rows, classes)[0].with_temperature(trial.temperature)


def outcomes_on(rows: Rows, head: Head, split: str) -> Outcomes:
    """What a calibrated head says of a split with rows that it knows the classes of."""
    return Outcomes.concatenate([outcomes_of(head, part) for part in scored(rows, head, split)])


def majority(rows: Rows, classes: tuple[str, ...]) -> LinearHead:
    """The head that gives every vector the classes' shares of the training rows (also of folds: it has no more)."""
    present, counts = np.unique(rows.matrix("train", classes).codes, return_counts=True)
    names = require_present(rows, classes, present)
    weights = np.zeros((len(names), rows.dim), np.float32)
    return LinearHead(names, weights, np.log(counts / counts.sum()).astype(np.float32))


def scoring_parameters(head: Head) -> int:
    """How many numbers `head` needs to score a vector: no statistics, and nothing that is folded into others."""
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


def save_outcomes(path: Path, outcomes: Outcomes) -> None:
    """As .npz, under a temporary name first."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **{field.name: getattr(outcomes, field.name) for field in fields(outcomes)})
    partial.replace(path)


def load_outcomes(path: Path) -> Outcomes:
    """The inverse of `save_outcomes`. Raises OSError, ValueError, KeyError for anything else."""
    with np.load(path, allow_pickle=False) as file:
        return Outcomes(**{field.name: file[field.name] for field in fields(Outcomes)})
