"""Training of a published head from stored vectors: learn, calibrate on val, report on val and test, publish."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifiers.errors import NotTrainable
from classifiers.evaluation.figures import Figures
from classifiers.evaluation.reports.report import Report, to_json, to_markdown
from classifiers.names import check_name
from classifiers.published.artifact import outlier_file
from classifiers.published.head import PublishedHead
from classifiers.published.manifest import TrainingRecord, ids_digest, package_versions
from classifiers.published.membership import ids_file, sorted_hashes
from classifiers.published.registry import Registry
from classifiers.training.kinds import KINDS, make_estimator
from classifiers.training.leakage import find_leakage
from classifiers.training.rows.rows import Elsewhere, Texts
from store.errors import BadSplit

if TYPE_CHECKING:
    from store import Store

EVALUATED = ("train", "val", "test")
"""Splits on which a head can be evaluated. Out-of-distribution rows (`ood`) have none of its classes."""

PACKAGES = ("headwater", "numpy", "scikit-learn", "scipy", "lancedb")
"""Packages whose versions the manifest records, if they are installed."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A published head, and the report on its training."""

    name: str
    version: str
    path: Path
    report: Report

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons not to use the head, one sentence each; they are also the first notes of the report."""
        return self.report.warnings


def train(
    store: "Store",
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
    """Learn a head from the split `train`, calibrate it on `val`, read `test` once for the report, and publish it.

    Without validation rows it is calibrated on training rows that were held out. A head that is no better than chance
    is published too, with a warning.

    Args:
        encoders: names or fingerprints of stored encoders; the vectors of several are set side by side.
        name: name of the head in the registry.
        kind: one of `KINDS`.
        params: hyper-parameters of the kind.
        seed: seed of the bootstrap intervals. The fits themselves are deterministic.
        texts: function that embeds texts with an encoder, for kinds that need vectors of texts; others do not call it.
        elsewhere: gathers the statistics of the training rows in other processes; for kind gaussian and one encoder.

    Raises:
        UnknownKind, UnknownParameter, BadName, BadParameter: with the names and values that are allowed.
        UnknownTask, UnknownFeatures: from the store, with the names that exist.
        NotTrainable: too few rows or classes, rows with several labels, no vectors, or a singular fit.
    """
    check_name(name)
    make_estimator(kind, params or {})  # its errors come before those of the store
    if not encoders:
        raise NotTrainable("name at least one encoder whose vectors the head reads")
    rows = KINDS[kind].rows(store, task, encoders, store.snapshot(), texts=texts, elsewhere=elsewhere, units=True)
    estimator = make_estimator(kind, params or {}, [features.name for features in rows.features])
    parameters = estimator.get_params()  # as the user gave them; choices of training are in the head's settings
    made = KINDS[kind].train(estimator, rows, parameters, seed)
    report = replace(made.report, leakage=find_leakage(rows, made.head))
    hashes = sorted_hashes(made.learned.ids)
    record = TrainingRecord(
        parameters=dict(made.report.parameters),
        task=task,
        encoders=rows.blocks(),
        snapshot=json.loads(rows.snapshot.to_json()),
        training_ids=ids_digest(made.learned.ids, hashes),
        counts=made.learned.counts,
        metrics=made.report.summaries(),
        conformal=made.conformal or {},
        outlier=made.outliers.quantiles,
        packages=package_versions(PACKAGES),
    )
    files = {"report.json": to_json(report).encode(), "report.md": to_markdown(report).encode()}
    files |= outlier_file(made.outliers.detector) | ids_file(made.learned.ids, hashes)
    published = registry.publish(name, made.head, record, files)
    return Trained(name, published, registry.path(f"{name}@{published}"), report)


def evaluate_head(
    store: "Store", published: PublishedHead, *, task: str | None = None, split: str = "test", seed: int = 0
) -> Figures:
    """Return the figures of a published head on the rows that are in the store now.

    Args:
        task: None for the head's own task.
        split: one of `EVALUATED`.
        seed: seed of the bootstrap intervals.

    Raises:
        BadSplit: `split` is not one of `EVALUATED`.
        UnknownTask, UnknownFeatures: from the store, with the names that exist.
        NotTrainable: no row of that split has a vector and a label that the head knows.
    """
    if split not in EVALUATED:
        raise BadSplit(f"a head cannot be evaluated on the split {split!r}; choose train, val or test")
    kind, task = KINDS[published.head.kind], task or published.manifest.task
    rows = kind.rows(store, task, published.fingerprints, store.snapshot())
    found = kind.evaluate(rows, published.head, split, seed)
    if found is None:
        raise NotTrainable(
            f"task {task!r} has no row in split {split!r} with a vector and a label of {published.name!r}"
        )
    return found
