"""Rows whose label and head disagree, by confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068).

All probabilities must come from heads that did not learn from the row. A row's self-confidence is the probability
that the head gives to the row's own label.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KEPT = 5
"""Number of the most probable classes of each row that are kept: memory then does not grow with the classes."""

DECAY = 0.8
"""Weight of each further label in `label_quality`, from the paper that introduced it."""


class Judged(NamedTuple):
    """Rows with one class each, and the probabilities of heads that did not learn from them.

    Attributes:
        codes: the row's own class, (n,); -1 for a class that the head does not know.
        own: self-confidence, (n,); 0 for a class that the head does not know.
        top: the most probable classes, most probable first, (n, k).
        proba: their probabilities, (n, k).
    """

    codes: NDArray[np.int64]
    own: NDArray[np.float32]
    top: NDArray[np.int64]
    proba: NDArray[np.float32]

    @classmethod
    def of(cls, proba: NDArray[np.float32], codes: NDArray[np.int64]) -> "Judged":
        """Keep what is needed of the probabilities (n, K) of rows with the classes `codes` (n,)."""
        top = np.argsort(-proba, axis=1, kind="stable")[:, :KEPT]
        own = np.where(codes >= 0, proba[np.arange(len(codes)), codes], 0).astype(np.float32)
        return cls(codes, own, top, np.take_along_axis(proba, top, axis=1))

    @classmethod
    def concatenate(cls, parts: "list[Judged]") -> "Judged":
        """Return the rows of all parts, in order; at least one part."""
        return cls(
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.own for part in parts]),
            np.concatenate([part.top for part in parts]),
            np.concatenate([part.proba for part in parts]),
        )

    def taken(self, rows: NDArray[np.int64]) -> "Judged":
        return Judged(self.codes[rows], self.own[rows], self.top[rows], self.proba[rows])


class Doubted(NamedTuple):
    """Rows whose label and head disagree, most doubtful first.

    Attributes:
        rows: numbers of the rows, (m,).
        likely: True for rows that confident learning counts as wrong labels, (m,).
        margin: by how much the probability of the head's answer exceeds that of the label, (m,).
    """

    rows: NDArray[np.int64]
    likely: NDArray[np.bool_]
    margin: NDArray[np.float32]


def doubted_classes(judged: Judged, classes: int) -> Doubted:
    """Return the rows whose most probable class is not their own, most doubtful first.

    A class is confident in a row if its probability there is at least the mean self-confidence of the rows labelled
    with it (the thresholds t_j of §3.1). A row is likely wrong if the most probable confident class is not its own:
    it lies off the diagonal of the confident joint. Likely wrong rows come first; among them, and among the others,
    the largest margin comes first, by which the paper prunes (§3.2, prune by noise rate). Rows of classes that the
    head does not know are left out.
    """
    known = judged.codes >= 0
    counts = np.bincount(judged.codes[known], minlength=classes)
    sums = np.bincount(judged.codes[known], judged.own[known].astype(np.float64), classes)
    thresholds = np.divide(sums, counts, out=np.full(classes, np.inf), where=counts > 0)
    confident = judged.proba >= thresholds[judged.top] - 1e-6
    first = judged.top[np.arange(len(confident)), confident.argmax(axis=1)]
    wrong = confident.any(axis=1) & (first != judged.codes)
    margin = judged.proba[:, 0] - judged.own
    rows = np.flatnonzero(known & (judged.top[:, 0] != judged.codes))
    return _in_order(rows, wrong[rows], margin[rows], -margin[rows])


def doubted_labels(proba: NDArray[np.float32], truth: NDArray[np.bool_]) -> Doubted:
    """Return the rows with any number of labels on which the head would decide otherwise, most doubtful first.

    Each label is a question of its own with two classes, there or not, to which `doubted_classes` would apply its
    rule; the head says that a label is there if its probability is at least one half. Among rows that are likely
    wrong, and among the others, the row with the least `label_quality` comes first.

    Args:
        proba: probability of each label, (n, L).
        truth: True where a row has the label, (n, L).
    """
    own = np.where(truth, proba, 1 - proba)
    differ = (proba >= 0.5) != truth
    wrong = differ & (1 - own >= _mean_confidence(proba, truth) - 1e-6)
    rows = np.flatnonzero(differ.any(axis=1))
    margin = 1 - 2 * own[rows].min(axis=1, initial=1)
    return _in_order(rows, wrong[rows].any(axis=1), margin, label_quality(own[rows]))


def _mean_confidence(proba: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the confidence that the opposite of each row's answer must reach, (n, L).

    For a row with the label, this is the mean of 1 - p over the rows without it; for others, the mean of p over the
    rows with it.
    """
    there = truth.sum(axis=0)
    with_it = np.divide(
        np.where(truth, proba, 0).sum(axis=0, dtype=np.float64), there, out=np.full(len(there), np.inf), where=there > 0
    )
    absent = len(truth) - there
    without = np.divide(
        np.where(truth, 0, 1 - proba).sum(axis=0, dtype=np.float64),
        absent,
        out=np.full(len(there), np.inf),
        where=absent > 0,
    )
    return np.asarray(np.where(truth, without, with_it))


def label_quality(own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one figure for the labels of each row from the self-confidence of every label (n, L), (n,).

    It is the exponential moving average over the labels from the most to the least confident one, so a single bad
    label counts much (Thyagarajan et al. 2022, arXiv 2211.13895, §4).
    """
    ordered = -np.sort(-own, axis=1)
    total = ordered[:, 0].copy()
    for column in ordered.T[1:]:
        total = DECAY * column + (1 - DECAY) * total
    return total


def _in_order(
    rows: NDArray[np.int64], likely: NDArray[np.bool_], margin: NDArray[np.float32], key: NDArray[np.float32]
) -> Doubted:
    """Sort: likely wrong rows first, then by `key`, least first, then by the numbers of the rows."""
    order = np.lexsort((rows, key, ~likely))
    return Doubted(rows[order], likely[order], margin[order])
