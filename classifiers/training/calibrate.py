"""Calibration on rows that a head did not learn from."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from classifiers.evaluation.calibration import MOST_BETA, MOST_TEMPERATURE, fit_temperature, least_temperature
from classifiers.evaluation.conformal import keep, lac_scores
from classifiers.evaluation.outcomes import Outcomes
from classifiers.evaluation.reports.labels import LabelFigures, binary_nll
from classifiers.evaluation.thresholds import tune_thresholds
from classifiers.fit.multilabel.platt import fit_platt
from classifiers.heads.base import Head, probabilities
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.published.manifest import Conformal
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned, Scored
from classifiers.training.rows.task_rows import LEAST_VALIDATION

LEAST_TUNED = 10
"""Least number of positive rows of a label that gets its own threshold. With fewer, the threshold would overfit.

Measured on held-out training rows of four data sets (`benchmarks/thresholds.py`). Where most labels are rarer than
this, the rule gains 31 points of micro-F1 and loses 3 points of macro-F1. Elsewhere it gains 0 to 6 points and loses 0
to 2. With 40 rows instead, no figure would change by more than 2 points.
"""


MOST_TEMPERED = 1000
"""Maximum number of training rows that limit the confidence of a head without rows to calibrate on."""


def calibrate(head: Head, parts: Sequence[Scored]) -> tuple[Head, Outcomes, Conformal]:
    """Fit a temperature on validation rows.

    Returns the head with this temperature, and the outcomes and nonconformity scores of the rows under that head. All
    scores are in memory at once (rows × classes × 4 bytes), never the vectors.
    """
    whole = Scored.concatenate(parts)
    calibrated = head.with_temperature(temperature_of(whole.scores, whole.truth))
    outcomes = Outcomes.concatenate([outcomes_of(calibrated, part) for part in parts])
    conformal = Conformal(rows=len(outcomes), lac=keep(lac_scores(outcomes.likelihood)), aps=keep(outcomes.before))
    return calibrated, outcomes, conformal


def temperature_of(scores: NDArray[Any], truth: NDArray[np.integer[Any]]) -> float:
    """Return the temperature of the scores (n, K) of rows with true classes (n,).

    With fewer than `LEAST_VALIDATION` rows it is at least `least_temperature`: if 9 of 9 rows are right, no temperature
    is too low for them, and the first mistake on another row would cost dozens of nats.
    """
    found = fit_temperature(scores, truth)
    return found if len(truth) >= LEAST_VALIDATION else max(found, least_temperature(scores))


def few_temperature(scores: NDArray[Any], codes: NDArray[np.integer[Any]]) -> float:
    """Return the T that minimises the NLL of few rows and of one more row, which has every class by an equal share.

    The additional row is the average one. Without it, six rows that are all right by chance allow any confidence.

    Args:
        scores: of rows that the head did not learn from, (n, K), n ≥ 1; -inf marks a class that is never predicted.
        codes: true classes, (n,); none of a row's scores of its class is -inf.
    """
    relative = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    known = np.isfinite(relative)
    true = relative[np.arange(len(codes)), codes].sum()
    average = np.mean(relative, axis=1, where=known).mean()

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        normaliser = np.log(np.exp(relative / temperature).sum(axis=1))
        return float(normaliser.sum() + normaliser.mean() - (true + average) / temperature)

    ends = math.log(1 / MOST_BETA), math.log(MOST_TEMPERATURE)
    return float(np.exp(minimize_scalar(loss, bounds=ends, method="bounded").x))


def tempered(learned: Learned[Head], rows: Rows) -> Head:
    """Return a head without rows to calibrate on, with `few_temperature` of the rows that were held out in turn.

    Without such rows, as with one row of each class, the temperature is `least_temperature` of the training rows. Both
    are measured by `benchmarks/few_calibration.py`.
    """
    if learned.few:
        held = Scored.concatenate(learned.few)
        return learned.head.with_temperature(few_temperature(held.scores, held.truth))
    X, _ = rows.first("train", learned.head.classes, MOST_TEMPERED)
    return learned.head.with_temperature(least_temperature(learned.head.scores(X))) if len(X) else learned.head


def outcomes_of(head: Head, part: Scored) -> Outcomes:
    """Return the outcomes of rows with one class each under a calibrated head."""
    uncalibrated = probabilities(part.scores, head.link)
    return Outcomes.of(probabilities(part.scores, head.link, head.temperature), part.truth, uncalibrated)


def calibrate_labels(head: LabelsHead, whole: Scored) -> tuple[LabelsHead, LabelFigures, str]:
    """Tune thresholds and fit a calibration. Returns the head with both, its figures, and a note for the report."""
    scores, truth = whole.scores, whole.truth
    platt = fit_platt(scores, truth)
    calibrated = (
        head.with_thresholds(tune_thresholds(scores, truth, least=LEAST_TUNED))
        .shifted(platt.shift)
        .with_temperature(platt.temperature)
    )
    figures = LabelFigures.of(calibrated, scores + np.float32(platt.shift), truth)
    rare = np.count_nonzero(np.count_nonzero(truth, axis=0) < LEAST_TUNED)
    note = (
        f"Probability = sigmoid((score + {platt.shift:z.3f}) / {platt.temperature:.3f}), one calibration for all "
        f"labels: NLL of a label {binary_nll(scores, truth):.4f} → {figures.nll:.4f}. Thresholds were tuned for F1 on "
        "the same rows, so their F1 figures are too good; mAP and F1@k do not depend on thresholds. "
        f"{rare} of {truth.shape[1]} labels have fewer than {LEAST_TUNED} of these rows and share one threshold, the "
        "best for all labels together."
    )
    return calibrated, figures, note
