"""Figures of scores for rows with any number of labels: pure functions of scores and true labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.evaluation.outcomes import ratio
from classifiers.heads.base import best


@dataclass(frozen=True, slots=True)
class LabelEvaluation:
    """Figures of the scores of rows with any number of labels. Undefined ratios count as 0.

    Attributes:
        classes: labels, (L,).
        map: mean average precision of the labels with at least one positive row.
        micro_f1: F1 of all decisions together. A label is predicted where its score reaches its threshold.
        macro_f1: mean F1 of the labels that occur or are predicted.
        f1_at_3, f1_at_5: F1 of all decisions together if the 3 or 5 best labels of every row are predicted. Rows
            without a label count too, and can only be wrong.
        thresholds: score from which each label is predicted, (L,).
        precision, recall, f1: of each label at its threshold, (L,).
        average_precision: (L,); NaN for labels without a positive row.
        support: positive rows per label, (L,) ints.
    """

    classes: tuple[str, ...]
    rows: int
    map: float
    micro_f1: float
    macro_f1: float
    f1_at_3: float
    f1_at_5: float
    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    support: NDArray[np.int64]

    def summary(self) -> dict[str, float]:
        """Return the figures that are one number each."""
        return {
            "rows": self.rows,
            "map": self.map,
            "micro_f1": self.micro_f1,
            "macro_f1": self.macro_f1,
            "f1_at_3": self.f1_at_3,
            "f1_at_5": self.f1_at_5,
        }


def evaluate_labels(
    scores: ArrayLike, truth: ArrayLike, classes: Sequence[str], thresholds: ArrayLike = 0.5
) -> LabelEvaluation:
    """Return the figures of scores for true labels; the arguments are not changed.

    Args:
        scores: probabilities or anything that rises with them, (n, L).
        truth: true (or 1) where a row has a label, (n, L).
        thresholds: one for all labels, or (L,), on the scale of the scores.

    Raises ValueError: no rows, shapes that do not fit, scores that are NaN, truth that is neither 0 nor 1.
    """
    s, t = checked(scores, truth)
    if s.shape[1] != len(classes):
        raise ValueError(f"scores of {s.shape[1]} labels, {len(classes)} names")
    limits = np.broadcast_to(np.asarray(thresholds, np.float64), (len(classes),)).copy()
    predicted = s >= limits
    right, claimed, support = (np.count_nonzero(x, axis=0) for x in (predicted & t, predicted, t))
    f1 = ratio(2.0 * right, support + claimed)
    occurs = (support + claimed) > 0
    precisions = average_precisions(s, t)
    return LabelEvaluation(
        classes=tuple(classes),
        rows=len(s),
        map=mean_of_known(precisions),
        micro_f1=f1_of(int(right.sum()), int(claimed.sum()), int(support.sum())),
        macro_f1=float(f1[occurs].mean()) if occurs.any() else 0.0,
        f1_at_3=f1_at(s, t, 3),
        f1_at_5=f1_at(s, t, 5),
        thresholds=limits,
        precision=ratio(right, claimed),
        recall=ratio(right, support),
        f1=f1,
        average_precision=precisions,
        support=support.astype(np.int64),
    )


@dataclass(frozen=True, slots=True)
class ZeroShotEvaluation:
    """Figures of the labels without training rows (`zsl`), and of all labels (`gzsl`)."""

    zsl: LabelEvaluation
    gzsl: LabelEvaluation


def evaluate_zero_shot(
    scores: ArrayLike, truth: ArrayLike, classes: Sequence[str], seen: ArrayLike, thresholds: ArrayLike = 0.5
) -> ZeroShotEvaluation:
    """Return the figures of a head that had training rows of some labels only.

    In ZSL (zero-shot learning) unseen labels compete with one another only. In GZSL (generalised zero-shot learning)
    they compete with the seen labels too.

    Args:
        seen: true for labels that had training rows, bool (L,). The other arguments are those of `evaluate_labels`.

    Raises ValueError: like `evaluate_labels`; a mask that does not fit; no unseen label.
    """
    mask = np.asarray(seen)
    if mask.shape != (len(classes),) or mask.dtype != np.bool_:
        raise ValueError(f"seen must be a bool for each of {len(classes)} labels, got {mask.dtype} {mask.shape}")
    if mask.all():
        raise ValueError("every label was seen in training; zero-shot figures need an unseen label")
    every, new = evaluate_labels(scores, truth, classes, thresholds), np.flatnonzero(~mask).tolist()
    names = [classes[k] for k in new]
    only = evaluate_labels(np.asarray(scores)[:, new], np.asarray(truth)[:, new], names, every.thresholds[new])
    return ZeroShotEvaluation(zsl=only, gzsl=every)


def mean_average_precision(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Return the mean of `average_precisions` over the labels that have a positive row; 0 if no label has one."""
    return mean_of_known(average_precisions(scores, truth))


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN; 0 if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def average_precisions(scores: NDArray[Any], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the average precision of each label, (L,); NaN for labels without a positive row.

    Σ (recall_i - recall_{i-1}) precision_i over the distinct scores, like scikit-learn's average_precision_score:
    rows with equal scores enter together.
    """
    result = np.full(scores.shape[1], np.nan)
    for label in np.flatnonzero(truth.any(axis=0)):
        _, right, claimed = cuts(scores[:, label], truth[:, label])
        result[label] = np.sum(np.diff(right, prepend=0) * right / claimed) / right[-1]
    return result


def cuts(scores: NDArray[Any], truth: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp]]:
    """Return the distinct scores of one label, highest first, and how many rows reach each score.

    Returns:
        The scores (m,), the numbers of positive rows that reach them (m,), and the numbers of all such rows (m,).
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    return ordered[last], np.cumsum(truth[order])[last], last + 1


def f1_at(scores: NDArray[Any], truth: NDArray[np.bool_], k: int) -> float:
    """Return the F1 of all decisions if the k best labels of every row are predicted; ties go to the first label."""
    chosen = best(scores, k)
    right = int(np.count_nonzero(np.take_along_axis(truth, chosen, axis=1)))
    return f1_of(right, chosen.size, int(np.count_nonzero(truth)))


def f1_of(right: float, claimed: float, support: float) -> float:
    return float(2.0 * right / (claimed + support)) if claimed + support else 0.0


def checked(scores: ArrayLike, truth: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the scores and true labels as arrays, both (n, L), n and L ≥ 1. Raises ValueError."""
    s, t = np.asarray(scores), np.asarray(truth)
    if s.ndim != 2 or s.shape != t.shape:
        raise ValueError(f"scores and true labels must both be (rows, labels), got {s.shape} and {t.shape}")
    if not s.size:
        raise ValueError(f"no rows or no labels to evaluate: {s.shape}")
    if np.isnan(s).any():
        raise ValueError(f"scores of row {int(np.argmax(np.isnan(s).any(axis=1)))} are NaN")
    if not np.isin(t, (0, 1)).all():
        raise ValueError("true labels must be 1 if a row has the label, else 0; found other values")
    return s, t.astype(np.bool_)
