"""From stored vectors to a published head: learn, calibrate on val, report on val and test, publish."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifiers.errors import NotTrainable
from classifiers.evaluation.figures import Evaluation
from classifiers.evaluation.reports.labels import LabelFigures
from classifiers.evaluation.reports.report import Report, to_json, to_markdown
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.published.artifact import outlier_file
from classifiers.published.head import PublishedHead
from classifiers.published.manifest import TrainingRecord, package_versions
from classifiers.published.registry import Registry, check_name
from classifiers.training.classes import Made, evaluate_split, train_classes
from classifiers.training.kinds import KINDS, Kind, make_estimator
from classifiers.training.label_kinds import LABEL_KINDS
from classifiers.training.labels import evaluate_labelled, train_labels
from classifiers.training.rows import Elsewhere, Rows, Texts
from store import Store

PACKAGES = ("headwater", "numpy", "scikit-learn", "scipy", "lancedb")
"""Packages whose versions the manifest records, where installed."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A published head and what was found while making it."""

    name: str
    version: str
    path: Path
    report: Report


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
    elsewhere: Elsewhere | None = None,
) -> Trained:
    """Learns a head from the split `train`, calibrates it on `val`, looks once at `test`, and publishes it.

    Without validation rows it is calibrated by cross-validation on the training rows.

    Args:
        encoders: names or fingerprints of stored encoders; several are set side by side.
        name: of the head in the registry.
        kind: one of `KINDS`; `params` its hyper-parameters.
        seed: of the bootstrap intervals. The fits themselves are deterministic.
        texts: the encoders' text sides, for kinds that need them; called by no other.
        elsewhere: gathers the statistics of the training rows by other processes; for kind gaussian and one encoder.

    Raises:
        UnknownKind, UnknownParameter, BadName: with the names that exist or are allowed.
        UnknownTask, UnknownFeatures: from the store, likewise.
        NotTrainable: too few rows or classes, several labels a row, no vectors, or a singular fit.
    """
    check_name(name)
    estimator = make_estimator(kind, params or {})
    if not encoders:
        raise NotTrainable("name at least one encoder whose vectors the head is to take")
    chosen, view = KINDS[kind], (store, task, tuple(encoders), store.snapshot())
    if elsewhere is not None and (kind != "gaussian" or len(encoders) > 1):
        raise NotTrainable(
            f"several processes together learn heads of kind gaussian on one encoder, not {kind} on {len(encoders)}: "
            "leave --engine ray out"
        )
    parameters = estimator.get_params()  # as asked; what was chosen on the way is among the head's settings
    rows: Rows
    if isinstance(chosen, Kind):
        rows = Rows(*view, texts=texts, elsewhere=elsewhere)
        made = train_classes(kind, estimator, rows, parameters, seed)
    else:
        rows = labelled = chosen.rows(*view, texts=texts)
        head, learned, outliers, report = train_labels(chosen, estimator, labelled, parameters)
        made = Made(head, learned.counts, learned.training_ids, None, outliers, report)
    record = TrainingRecord(
        parameters=dict(made.report.parameters),
        task=task,
        encoders=rows.blocks(),
        snapshot=json.loads(rows.snapshot.to_json()),
        training_ids=made.training_ids,
        counts=made.counts,
        metrics=made.report.summaries(),
        conformal=made.conformal or {},
        outlier=made.outliers.quantiles,
        packages=package_versions(PACKAGES),
    )
    files = {"report.json": to_json(made.report).encode(), "report.md": to_markdown(made.report).encode()}
    files |= outlier_file(made.outliers.detector)
    published = registry.publish(name, made.head, record, files)
    return Trained(name, published, registry.path(f"{name}@{published}"), made.report)


def evaluate_head(
    store: Store, published: PublishedHead, *, task: str | None = None, split: str = "test", seed: int = 0
) -> Evaluation | LabelFigures:
    """The figures of a published head on what the store holds now; `task` defaults to the head's own.

    Raises:
        UnknownTask, UnknownFeatures, BadSplit: from the store, with what exists.
        NotTrainable: no row of that split has a vector and a label that the head knows.
    """
    view, head = (store, task or published.manifest.task, published.fingerprints, store.snapshot()), published.head
    evaluation: Evaluation | LabelFigures | None
    if isinstance(head, LabelsHead):
        evaluation = evaluate_labelled(LABEL_KINDS[head.kind].rows(*view), head, split)
    else:
        evaluation = evaluate_split(Rows(*view), head, split, seed)
    if evaluation is None:
        raise NotTrainable(
            f"task {view[1]!r} has no row in split {split!r} with a vector and a label of {published.name!r}"
        )
    return evaluation
