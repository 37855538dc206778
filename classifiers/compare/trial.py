"""One candidate of a comparison: learned from the training rows, measured on the validation rows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from classifiers.compare.candidates import CONSTANT, Candidate
from classifiers.compare.family import Family
from classifiers.errors import NotTrainable
from classifiers.fit.remembered import saved_seconds
from classifiers.heads.base import Head
from classifiers.heads.fusion.head import FusionHead
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.zeroshot import ZeroShotHead
from classifiers.training.rows.rows import Rows


@dataclass(frozen=True, slots=True)
class Trial:
    """The results of a candidate on the validation rows, with calibrated probabilities.

    Attributes:
        outcomes: few numbers of each row, of the type of the `Family`.
        evaluation: figures of the outcomes, of the type of the `Family`.
        parameters: count of the numbers that the head needs to score a vector.
        seconds: time to learn, choose and validate, in seconds, as if no step had been shared with another head.
        settings: settings of the head, including those that training chose.
    """

    candidate: Candidate
    outcomes: Any
    evaluation: Any
    temperature: float
    parameters: int
    seconds: float
    settings: Mapping[str, Any]


def examine(
    candidate: Candidate, rows: Rows, classes: tuple[str, ...], seed: int, family: Family
) -> tuple[Trial, Head]:
    """Learn a candidate and score the validation rows, or the training rows fold by fold.

    Returns the trial and the calibrated head. Raises NotTrainable, and any error of a fit.
    """
    start = time.perf_counter() + saved_seconds()
    head, parts = family.learn(candidate, rows, classes)
    if not parts:
        raise NotTrainable("no validation row, and too few training rows of each class to hold some out")
    calibrated, outcomes = family.calibrate(head, parts)
    trial = Trial(
        candidate,
        outcomes,
        family.measure(outcomes, head.classes, seed),
        calibrated.temperature,
        len(head.classes) if candidate.kind in CONSTANT else scoring_parameters(head),
        time.perf_counter() + saved_seconds() - start,
        head.settings(),
    )
    return trial, calibrated


def scoring_parameters(head: Head) -> int:
    """Return how many numbers `head` needs to score a vector; statistics and folded arrays are not counted."""
    if isinstance(head, FusionHead):
        nested = head.members if head.joint is None else (head.joint,)
        return sum(map(scoring_parameters, nested)) + sum(array.size for array in head.combiner.arrays().values())
    if isinstance(head, ZeroShotHead):
        return len(head.classes) * (head.dim + 1)
    if isinstance(head, GaussianHead):  # whose other arrays take long to compute, and score nothing
        kept = head.transform.rowwise if head.tied else head.transform
        arrays = head.quadratic.named() | kept.arrays()
        if not head.tied:
            arrays["centre"] = head.centre
    else:
        counted = head.arrays()
        arrays = {name: counted[name] for name in counted.keys() - {"thresholds", "common_threshold"}}
    return sum(array.size for array in arrays.values())
