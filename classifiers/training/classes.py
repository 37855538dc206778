"""Learning, calibrating and reporting of heads that give each row one label."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from classifiers.evaluation.calibration import fit_temperature
from classifiers.evaluation.conformal import keep, lac_scores
from classifiers.evaluation.figures import Evaluation, Outcomes, summarise
from classifiers.evaluation.reports.fusion import FusionReport
from classifiers.evaluation.reports.report import Report, rows_used
from classifiers.heads.base import Head, probabilities
from classifiers.published.manifest import Conformal
from classifiers.training.fused import fusion_reports
from classifiers.training.kinds import ONE_LABEL_KINDS, validate
from classifiers.training.outliers import Outliers, learn_outliers, tell_strangers
from classifiers.training.rows import Rows, Scored, scored
from classifiers.training.streamed import Learned

NO_LABEL = "the head learned from no label"

CROSS_VALIDATION = "cross-validation"
"""Stands for `val` in reports and metrics of heads that were calibrated on held-out training rows."""


@dataclass(frozen=True, slots=True)
class Made:
    """What is published: a calibrated head, what it learned from, and what was found.

    Attributes:
        counts: training rows of each of its classes; `training_ids` the digest of their ids.
        conformal: None without validation rows, and for heads that give any number of labels.
    """

    head: Head
    counts: tuple[int, ...]
    training_ids: str
    conformal: Conformal | None
    outliers: Outliers
    report: Report


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A head with its temperature, and what the validation rows say of it; empty without such rows."""

    head: Head
    evaluation: Evaluation | None
    conformal: Conformal | None


def train_classes(kind: str, estimator: Any, rows: Rows, parameters: Mapping[str, Any], seed: int) -> Made:
    """Of a kind that gives each row one label. Raises UnknownTask, UnknownFeatures, NotTrainable."""
    chosen = ONE_LABEL_KINDS[kind]
    rows.blocks()  # unknown encoders are told before what their vectors lack
    classes = chosen.classes(estimator, rows)
    if chosen.texts:
        rows.require_texts()
    learned = chosen.learn(estimator, rows, classes)
    validated = validate(kind, estimator, rows, learned.head) if learned.validated is None else learned.validated
    calibrated = calibrate(learned.head, validated, seed)
    outliers = learn_outliers(rows, learned.head.classes) if any(learned.counts) else Outliers(lacks=NO_LABEL)
    fused = fusion_reports(rows, estimator, calibrated.head)
    report = make_report(rows, parameters, learned, calibrated, outliers, fused, classes, seed)
    return Made(calibrated.head, learned.counts, learned.training_ids, calibrated.conformal, outliers, report)


def calibrate(head: Head, parts: Sequence[Scored], seed: int) -> Calibrated:
    """Temperature, prediction sets and figures from validation rows.

    All their scores are held at once (rows × classes × 4 bytes), never their vectors.
    """
    if not parts:
        return Calibrated(head, None, None)
    scores = np.concatenate([part.scores for part in parts])
    codes = np.concatenate([part.codes for part in parts])
    calibrated = head.with_temperature(fit_temperature(scores, codes))
    outcomes = Outcomes.concatenate([outcomes_of(calibrated, part) for part in parts])
    conformal = Conformal(rows=len(codes), lac=keep(lac_scores(outcomes.likelihood)), aps=keep(outcomes.before))
    return Calibrated(calibrated, summarise(outcomes, head.classes, seed=seed), conformal)


def outcomes_of(head: Head, part: Scored) -> Outcomes:
    plain = probabilities(part.scores, head.link)
    return Outcomes.of(probabilities(part.scores, head.link, head.temperature), part.codes, plain)


def evaluate_split(rows: Rows, head: Head, split: str, seed: int) -> Evaluation | None:
    """The figures of a split, streamed; None when it has no row that the head could get right."""
    parts = [outcomes_of(head, part) for part in scored(rows, head, split)]
    return summarise(Outcomes.concatenate(parts), head.classes, seed=seed) if parts else None


def make_report(
    rows: Rows,
    parameters: Mapping[str, Any],
    learned: Learned,
    calibrated: Calibrated,
    outliers: Outliers,
    fused: Mapping[str, FusionReport],
    classes: Sequence[str],
    seed: int,
) -> Report:
    """What is known so far, and the figures on the splits `test` and `ood`."""
    head = calibrated.head
    test = evaluate_split(rows, head, "test", seed)
    crossed = not rows.labelled("val").num_rows
    evaluations = {CROSS_VALIDATION if crossed else "val": calibrated.evaluation, "test": test}
    found = {split: evaluation for split, evaluation in evaluations.items() if evaluation}
    used = rows_used(sum(learned.counts), found)
    return Report(
        task=rows.task,
        kind=head.kind,
        encoders=tuple(features.name for features in rows.features),
        parameters=parameters,
        settings=head.settings(),
        rows=used,
        temperature=head.temperature,
        notes=(
            *learned.notes,
            *notes(rows, used, sorted(set(classes) - set(head.classes)), calibrated, outliers),
        ),
        evaluations=found,
        strangers=tell_strangers(rows, head, outliers),
        fusion=fused,
    )


def notes(
    rows: Rows, used: Mapping[str, int], lost: Sequence[str], calibrated: Calibrated, outliers: Outliers
) -> Iterator[str]:
    """What a reader of the figures must know. `lost`: classes without a training vector."""
    if not calibrated.conformal:
        yield (
            "No validation rows with a vector, or too few training rows to hold some out: the temperature stays 1, and "
            "there are no prediction sets."
        )
    elif not used["val"] and not used["train"]:
        yield (
            "No validation rows: temperature and prediction sets come from the training rows, whose labels the head "
            "did not learn from."
        )
    elif not used["val"]:
        yield (
            "No validation rows: temperature and prediction sets come from training rows that were held out, fold by "
            "fold, from heads made only for that; outlier percentiles from the same rows, each left out in turn."
        )
    if not outliers.quantiles:
        yield f"No outlier percentiles: {outliers.lacks}."
    if not used["test"]:
        yield "No test rows: nothing is known about unseen rows."
    for split, count in used.items():
        labelled = rows.labelled(split).num_rows
        if count < labelled and (split != "train" or count):
            yield (
                f"{split}: {labelled - count} of {labelled} labelled rows left out, for want of a vector or "
                "of a label that the head knows."
            )
    if lost:
        yield f"{len(lost)} classes have no training vector and are unknown to the head: {', '.join(lost[:10])}."
