"""Comparisons for the report of a fused head: each encoder alone, every other rule and the oracle."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.evaluation.reports.fusion import THRESHOLDS, CascadePoint, FusionReport, cascade_curve, fusion_report
from classifiers.fit.base import HeadClassifier
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.heads.fusion.head import FusionHead
from classifiers.heads.fusion.rules import log_softmax
from classifiers.training.rows.rows import Rows

MOST_SCORES = 50_000_000
"""Maximum number of scores (rows × encoders × classes) compared in a split (200 MB); other rows are left out."""


def fusion_reports(estimator: FusionClassifier, rows: Rows, head: FusionHead) -> dict[str, FusionReport]:
    """Return the reports on the splits `val` and `test`, by split, if they have rows.

    The training rows are read once more, because each encoder alone is also reported with the norm that the members do
    not have.
    """
    names = [features.name for features in rows.features]
    others = fit_with_other_norm(rows, estimator, head)
    found = {}
    for split in ("val", "test"):
        X, codes = rows.first(split, head.classes, MOST_SCORES // (len(head.members) * len(head.classes)))
        if not len(X):
            continue
        alone = zip(others.items(), columns_of(head, X), strict=False)
        scores = head.member_scores(X)
        found[split] = fusion_report(
            names,
            scores,
            codes,
            head.combiner.temperatures,
            head.combiner.weights,
            singles={name: classifier.scores(block) for (name, classifier), block in alone},
            cascade=curve(head, scores, codes),
        )
    return found


def columns_of(head: FusionHead, X: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the columns of each encoder, as stored."""
    return (X[:, start:stop] for start, stop in pairwise(head.blocks.edges))


def fit_with_other_norm(rows: Rows, estimator: FusionClassifier, head: FusionHead) -> dict[str, HeadClassifier]:
    """Return, by name, a classifier for the columns of each encoder, like the members but with the other norm.

    The result is empty if the members have no norm.
    """
    member = estimator.make_member()
    if "norm" not in member.get_params():
        return {}
    unit = estimator.normalise or member.norm == "unit"
    member.set_params(norm="none" if unit else "unit")
    training = rows.matrix("train", head.classes)
    return {
        f"{features.name}, {'as stored' if unit else 'unit norm'}": clone(member).fit(block, training.codes)
        for features, block in zip(rows.features, columns_of(head, training.X), strict=True)
    }


def curve(head: FusionHead, scores: NDArray[Any], codes: NDArray[np.int64]) -> list[CascadePoint]:
    """Return the accuracy and the cost of a cascade at several thresholds; empty for all other rules."""
    cascade = head.combiner.cascade
    if cascade is None:
        return []
    scores_of_steps = cascade.step_scores(log_softmax(scores, head.combiner.temperatures))
    return cascade_curve(scores_of_steps, codes, cascade.spent(), sorted({*THRESHOLDS, cascade.threshold}))
