"""From stored vectors to a published head: learn, calibrate on val, report on val and test, publish."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.artifact import outlier_file
from classifiers.calibration import fit_temperature
from classifiers.conformal import keep, lac_scores
from classifiers.errors import NotTrainable
from classifiers.evaluate import Evaluation, Outcomes, summarise
from classifiers.fused import fusion_reports
from classifiers.fusion_report import FusionReport
from classifiers.heads.base import Head, probabilities
from classifiers.kinds import KINDS, make_estimator, validate
from classifiers.manifest import Conformal, TrainingRecord, package_versions
from classifiers.outliers import Outliers, learn_outliers, tell_strangers
from classifiers.published import PublishedHead
from classifiers.registry import Registry, check_name
from classifiers.report import Report, to_json, to_markdown
from classifiers.rows import Rows, Scored, Texts, scored
from classifiers.streamed import Learned
from store import Store

PACKAGES = ("headwater", "numpy", "scikit-learn", "scipy", "lancedb")
"""Packages whose versions the manifest records, where installed."""


NO_LABEL = "the head learned from no label"

CROSS_VALIDATION = "cross-validation"
"""Stands for `val` in reports and metrics of heads that were calibrated on held-out training rows."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A published head and what was found while making it."""

    name: str
    version: str
    path: Path
    report: Report


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A head with its temperature, and what the validation rows say of it; empty without such rows."""

    head: Head
    evaluation: Evaluation | None
    conformal: Conformal | None


def train(
    store: Store,
    registry: Registry,
    *,
    task: str,
    encoders: Sequence[str],
    name: str,
    kind: str = "gaussian",
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    texts: Texts | None = None,
) -> Trained:
    """Learns a head from the split `train`, calibrates it on `val`, looks once at `test`, and publishes it.

    Without validation rows it is calibrated by cross-validation on the training rows.

    Args:
        encoders: names or fingerprints of stored encoders; several are set side by side.
        name: of the head in the registry.
        kind: one of `KINDS`; `params` its hyper-parameters.
        seed: of the bootstrap intervals. The fits themselves are deterministic.
        texts: the encoders' text sides, for kinds that need them; called by no other.

    Raises:
        UnknownKind, UnknownParameter, BadName: with the names that exist or are allowed.
        UnknownTask, UnknownFeatures: from the store, likewise.
        NotTrainable: too few rows or classes, several labels a row, no vectors, or a singular fit.
    """
    check_name(name)
    estimator = make_estimator(kind, params or {})
    if not encoders:
        raise NotTrainable("name at least one encoder whose vectors the head is to take")
    rows = Rows(store, task, tuple(encoders), store.snapshot(), texts=texts)
    blocks, classes = rows.blocks(), KINDS[kind].classes(estimator, rows)
    if KINDS[kind].texts:
        rows.require_texts()
    parameters = estimator.get_params()  # as asked; what was chosen on the way is among the head's settings
    learned = KINDS[kind].learn(estimator, rows, classes)
    validated = validate(kind, estimator, rows, learned.head) if learned.validated is None else learned.validated
    calibrated = calibrate(learned.head, validated, seed)
    outliers = learn_outliers(rows, learned.head.classes) if any(learned.counts) else Outliers(lacks=NO_LABEL)
    fused = fusion_reports(rows, estimator, calibrated.head)
    report = make_report(rows, parameters, learned, calibrated, outliers, fused, classes, seed)
    record = TrainingRecord(
        parameters=dict(report.parameters),
        task=task,
        encoders=blocks,
        snapshot=json.loads(rows.snapshot.to_json()),
        training_ids=learned.training_ids,
        counts=learned.counts,
        metrics={split: evaluation.summary() for split, evaluation in report.evaluations.items()},
        conformal=calibrated.conformal or {},
        outlier=outliers.quantiles,
        packages=package_versions(PACKAGES),
    )
    files = {"report.json": to_json(report).encode(), "report.md": to_markdown(report).encode()}
    files |= outlier_file(outliers.detector)
    published = registry.publish(name, calibrated.head, record, files)
    return Trained(name, published, registry.path(f"{name}@{published}"), report)


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


def evaluate_head(
    store: Store, published: PublishedHead, *, task: str | None = None, split: str = "test", seed: int = 0
) -> Evaluation:
    """The figures of a published head on what the store holds now; `task` defaults to the head's own.

    Raises:
        UnknownTask, UnknownFeatures, BadSplit: from the store, with what exists.
        NotTrainable: no row of that split has a vector and a label that the head knows.
    """
    rows = Rows(store, task or published.manifest.task, published.fingerprints, store.snapshot())
    evaluation = evaluate_split(rows, published.head, split, seed)
    if evaluation is None:
        raise NotTrainable(
            f"task {rows.task!r} has no row in split {split!r} with a vector and a label of {published.name!r}"
        )
    return evaluation


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
    used = {"train": sum(learned.counts)} | {
        split: found[split].rows if split in found else 0 for split in ("val", "test")
    }
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
