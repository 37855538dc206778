"""What stands beside a fused head in its report: every encoder alone, every other rule, the oracle, on stored rows."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.evaluation.reports.fusion import THRESHOLDS, CascadePoint, FusionReport, cascade_curve, fusion_report
from classifiers.fit.base import HeadClassifier
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.heads.base import Head
from classifiers.heads.fusion.head import FusionHead
from classifiers.heads.fusion.rules import log_softmax
from classifiers.training.rows import Rows

MOST_SCORES = 50_000_000
"""Most scores (rows × encoders × classes) of a split that are looked at: its first rows, 200 MB."""


def fusion_reports(rows: Rows, estimator: HeadClassifier, head: Head) -> dict[str, FusionReport]:
    """The report on the splits `val` and `test`, where they have rows; empty for other kinds of heads.

    The training rows are read once more: each encoder alone is also shown with the norm that the members do not have.
    """
    if not isinstance(head, FusionHead) or not isinstance(estimator, FusionClassifier):
        return {}
    names = [features.name for features in rows.features]
    others = fit_with_other_norm(rows, estimator, head)
    found = {}
    for split in ("val", "test"):
        X, codes = split_rows(rows, head, split)
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
    """The columns of each encoder, as they are stored."""
    return (X[:, start:stop] for start, stop in pairwise(head.blocks.edges))


def fit_with_other_norm(rows: Rows, estimator: FusionClassifier, head: FusionHead) -> dict[str, HeadClassifier]:
    """A classifier on the columns of each encoder, as the members but for their norm; none for members without one."""
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


def split_rows(rows: Rows, head: FusionHead, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """X (n, d) and codes (n,) of a split's first rows whose labels the head knows."""
    most = MOST_SCORES // (len(head.members) * len(head.classes))
    X, codes = np.empty((0, head.dim), np.float32), np.empty(0, np.int64)
    for _, some, labels in rows.batches(split, head.classes):
        known = labels >= 0
        X, codes = np.concatenate([X, some[known]]), np.concatenate([codes, labels[known]])
        if len(X) >= most:
            break
    return X[:most], codes[:most]


def curve(head: FusionHead, scores: NDArray[Any], codes: NDArray[np.int64]) -> list[CascadePoint]:
    """Accuracy against the encoders' cost, for a cascade."""
    cascade = head.combiner.cascade
    if cascade is None:
        return []
    stages = cascade.step_scores(log_softmax(scores, head.combiner.temperatures))
    return cascade_curve(stages, codes, cascade.spent(), sorted({*THRESHOLDS, cascade.threshold}))
