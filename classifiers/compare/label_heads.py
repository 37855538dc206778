"""Heads for any number of labels in a comparison: learning, calibration, and the two simplest controls."""

from collections.abc import Sequence

import numpy as np

from classifiers.compare.candidates import NEAREST_LABEL, SHARES, Candidate
from classifiers.compare.label_outcomes import LabelOutcomes
from classifiers.errors import BadParameter
from classifiers.fit.multilabel.base import log_odds
from classifiers.fit.multilabel.platt import fit_platt
from classifiers.heads.base import Head
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.heads.multilabel.labelwise import LabelwiseHead
from classifiers.training.calibrate import calibrate_labels
from classifiers.training.kinds import LABEL_KINDS, make_estimator
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import LabelledRows, Rows
from classifiers.training.rows.scored import Scored, scored_labels


def learn_labels(candidate: Candidate, rows: Rows) -> tuple[LabelsHead, Sequence[Scored]]:
    """Return the uncalibrated head of a candidate, and its scored validation rows or folds."""
    if candidate.kind in CONTROL_HEADS:
        make, labels = CONTROL_HEADS[candidate.kind], rows.label_names()
        head = make(known_labels(rows, labels), labels)
        parts: list[Scored] = []
        for view in rows.validations():
            tested = head if view is rows else make(view.labelled_rows("train", head.classes), head.classes)
            parts += scored_labels(view, tested, "val")
        return head, parts
    if candidate.kind not in LABEL_KINDS or LABEL_KINDS[candidate.kind].reads is not Rows:
        usable = ", ".join(name for name, kind in LABEL_KINDS.items() if kind.reads is Rows)
        raise BadParameter(
            f"kind {candidate.kind!r} cannot be compared on rows with any number of labels; compare one of: {usable}"
        )
    learned = LABEL_KINDS[candidate.kind].learned(make_estimator(candidate.kind, candidate.params), rows)
    return learned.head, learned.validated or ()


def known_labels(rows: Rows, labels: tuple[str, ...]) -> LabelledRows:
    """Return the training rows. Raises NotTrainable unless every label has a row with a vector."""
    training = rows.labelled_rows("train", labels)
    require_present(rows, labels, np.flatnonzero(training.Y.any(axis=0)), "labels")
    return training


def calibrate_head(head: LabelsHead, parts: Sequence[Scored]) -> tuple[LabelsHead, LabelOutcomes]:
    """Return the head with thresholds and a calibration, and the outcomes of the rows that they were fitted on."""
    whole = Scored.concatenate(parts)
    calibrated, _, _ = calibrate_labels(head, whole)
    shift = fit_platt(whole.scores, whole.truth).shift
    return calibrated, outcomes_of(calibrated, Scored(whole.scores + np.float32(shift), whole.truth))


def outcomes_of(head: LabelsHead, scored: Scored) -> LabelOutcomes:
    """Return the outcomes of rows that a calibrated head scored."""
    temperature = np.float32(head.temperature)
    return LabelOutcomes(scored.scores / temperature, scored.truth, head.thresholds.labels / temperature)


def label_outcomes_on(rows: Rows, head: Head, split: str) -> LabelOutcomes:
    """Return the outcomes of a calibrated head on a split that has at least one row."""
    if not isinstance(head, LabelsHead):
        raise TypeError(f"a head of kind {head.kind!r} gives one class a row")
    return outcomes_of(head, Scored.concatenate(scored_labels(rows, head, split)))


def label_shares(training: LabelledRows, labels: tuple[str, ...]) -> LabelwiseHead:
    """Return a head that gives every vector the labels' shares of the training rows."""
    weights = np.zeros((len(labels), training.X.shape[1]), np.float32)
    offsets = log_odds(np.count_nonzero(training.Y, axis=0), len(training.ids))
    return LabelwiseHead(labels, weights, offsets.astype(np.float32))


def nearest_label_mean(training: LabelledRows, labels: tuple[str, ...]) -> LabelwiseHead:
    """Return a head that compares the distances to the mean of the rows with a label, and of the rows without it.

    It is the discriminant of two spherical Gaussians with the variance of all rows, for each label of its own. A label
    that no row or every row has gets no weights.
    """
    X, Y = training.X.astype(np.float64), training.Y.astype(np.float64)
    n, positives = len(X), Y.sum(axis=0)
    varied = (positives > 0) & (positives < n)
    with_, total = Y.T @ X, X.sum(axis=0)
    have, lack = np.where(varied, positives, 1.0)[:, None], np.where(varied, n - positives, 1.0)[:, None]
    means, others = with_ / have, (total - with_) / lack
    variance = max(float(X.var(axis=0).mean()), np.finfo(np.float64).tiny)
    W = np.where(varied[:, None], means - others, 0.0) / variance
    b = log_odds(positives.astype(np.int64), n) - np.einsum("ld,ld->l", W, (means + others) / 2)
    return LabelwiseHead(labels, W.astype(np.float32), b.astype(np.float32))


CONTROL_HEADS = {SHARES: label_shares, NEAREST_LABEL: nearest_label_mean}
"""Controls that no kind of head trains, by name."""
