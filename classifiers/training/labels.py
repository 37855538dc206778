"""Learning, calibrating and reporting of heads that give a row any number of labels."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from classifiers.evaluation.reports.labels import LabelFigures, binary_nll
from classifiers.evaluation.reports.report import Report, rows_used
from classifiers.evaluation.thresholds import tune_thresholds
from classifiers.fit.multilabel.base import LabelsEstimator
from classifiers.fit.multilabel.platt import fit_platt
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.training.label_kinds import LabelKind, LabelsLearned, learn_labels
from classifiers.training.label_rows import LabelRows, LabelScored
from classifiers.training.outliers import Outliers, learn_outliers, tell_strangers

HELD_OUT = "held-out"
"""Stands for `val` in reports and metrics of heads that were calibrated on training rows they had not learned from."""


LEAST_TUNED = 10
"""Positive rows with which a label gets a threshold of its own: that of fewer fits these rows and no others.

Held-out training rows of four data sets (`benchmarks/thresholds.py`): 31 points of micro-F1 on labels that are mostly
rarer, for 3 points of macro-F1; elsewhere 0 to 6 and 0 to 2 points, and no more than 2 points for asking 40 rows.
"""

LACKS = "they need one vector a row, and labels that exclude each other"


class LabelsTrained(NamedTuple):
    """A calibrated head, and all that is known of it."""

    head: LabelsHead
    learned: LabelsLearned
    outliers: Outliers
    report: Report


class LabelsCalibrated(NamedTuple):
    """A head with thresholds and honest probabilities, its figures on the rows that gave them, and what was done."""

    head: LabelsHead
    figures: LabelFigures | None
    note: str


def train_labels(
    kind: LabelKind, estimator: LabelsEstimator, rows: LabelRows, parameters: Mapping[str, Any]
) -> LabelsTrained:
    """Learns a head, tunes thresholds and calibrates on rows that it did not learn from, and looks once at `test`.

    Args:
        parameters: of the estimator, as they were asked for.

    Raises UnknownTask, NotTrainable, BadParameter.
    """
    learned = learn_labels(kind, estimator, rows)
    head, validated, calibration = calibrate_labels(learned.head, learned.validated)
    exclusive = kind.rows is LabelRows and rows.one_each
    outliers = learn_outliers(rows, head.classes) if exclusive else Outliers(lacks=LACKS)
    validation = "val" if rows.labelled("val").num_rows else HELD_OUT
    figures = {validation: validated, "test": evaluate_labelled(rows, head, "test")}
    found = {split: each for split, each in figures.items() if each}
    used = rows_used(learned.rows, found)
    report = Report(
        task=rows.task,
        kind=head.kind,
        encoders=tuple(features.name for features in rows.features),
        parameters=parameters,
        settings=head.settings(),
        rows=used,
        temperature=head.temperature,
        notes=(calibration, *notes(rows, used, head, outliers)),
        evaluations={},
        strangers=tell_strangers(rows, head, outliers) if exclusive else None,
        labels=found,
    )
    return LabelsTrained(head, learned, outliers, report)


def calibrate_labels(head: LabelsHead, validated: LabelScored | None) -> LabelsCalibrated:
    """Thresholds with the best F1 a label, and probabilities that are as often right as they say."""
    if validated is None:
        note = (
            "No rows to calibrate on: a label is given from a score of 0 on, and probabilities are those of training."
        )
        return LabelsCalibrated(head, None, note)
    scores, truth = validated.scores, validated.truth
    platt = fit_platt(scores, truth)
    honest = (
        head.with_thresholds(tune_thresholds(scores, truth, least=LEAST_TUNED))
        .shifted(platt.shift)
        .with_temperature(platt.temperature)
    )
    figures = LabelFigures.of(honest, scores + np.float32(platt.shift), truth)
    note = (
        f"Probability = sigmoid((score + {platt.shift:.3f}) / {platt.temperature:.3f}), one calibration for all "
        f"labels: NLL a label {binary_nll(scores, truth):.4f} → {figures.nll:.4f}. Thresholds were tuned for F1 on the "
        "same rows, so their F1 figures are too good; mAP and F1@k are not touched by that. "
        f"{np.count_nonzero(np.count_nonzero(truth, axis=0) < LEAST_TUNED)} of {truth.shape[1]} labels have fewer than "
        f"{LEAST_TUNED} rows there, and the threshold that is best for all together."
    )
    return LabelsCalibrated(honest, figures, note)


def evaluate_labelled(rows: LabelRows, head: LabelsHead, split: str) -> LabelFigures | None:
    """The figures of a split; None where it has no row with a vector."""
    found = LabelScored.of(rows, head, split)
    return LabelFigures.of(head, found.scores, found.truth) if found else None


def notes(rows: LabelRows, used: Mapping[str, int], head: LabelsHead, outliers: Outliers) -> Iterator[str]:
    """What a reader of the figures must know, beside how they were calibrated."""
    if not rows.labelled("val").num_rows:
        yield "No validation rows: calibration and thresholds come from training rows that were held out."
    if not outliers.quantiles:
        yield f"No outlier percentiles: {outliers.lacks}."
    if not used["test"]:
        yield "No test rows: nothing is known about unseen rows."
    for split, count in used.items():
        labelled = rows.labelled(split).num_rows
        if count < labelled:
            yield f"{split}: {labelled - count} of {labelled} labelled rows left out, for want of a vector."
    if lost := sorted(set(rows.classes()) - set(head.classes)):
        yield f"{len(lost)} labels have no training vector and are unknown to the head: {', '.join(lost[:10])}."
