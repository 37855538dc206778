"""Score thresholds for each label, tuned on validation rows: pure functions of scores and true labels."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.evaluation.label_figures import checked, cuts
from classifiers.heads.multilabel.base import Thresholds


def tune_thresholds(scores: ArrayLike, truth: ArrayLike, *, least: int = 1) -> Thresholds:
    """Return the threshold of each label with the best F1 on these rows.

    A threshold is midway between two scores; among equally good thresholds the highest is chosen. The threshold
    `common` has the best F1 of the decisions on all labels together. Labels with fewer than `least` positive rows get
    the common threshold, because few rows (or none) cannot determine one. So do labels that are added later.

    Args:
        scores: result of `Head.scores`, (n, L).
        truth: true (or 1) where a row has a label, (n, L).

    Raises ValueError: no rows, shapes that do not fit, scores that are NaN, truth that is neither 0 nor 1.
    """
    s, t = checked(scores, truth)
    s = s.astype(np.float32, copy=False)
    common = best_cut(s.ravel(), t.ravel())
    positives = np.count_nonzero(t, axis=0)
    own = [best_cut(s[:, k], t[:, k]) if positives[k] >= max(1, least) else common for k in range(s.shape[1])]
    return Thresholds(np.array(own, np.float32), np.array([common], np.float32))


def best_cut(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> Any:
    """Return the highest threshold with the best F1; above every score if no row is positive."""
    values, right, claimed = cuts(scores, truth)
    if not right[-1]:
        return np.nextafter(values[0], np.float32(np.inf))
    cut = int(np.argmax(2.0 * right / (claimed + right[-1])))
    if cut + 1 == len(values):
        return values[cut]
    middle = values[cut] + (values[cut + 1] - values[cut]) / np.float32(2)
    return middle if middle > values[cut + 1] else values[cut]  # the middle of neighbours in float32 may round down
