"""From which score on a label is given, tuned on validation rows: pure functions on scores and true labels."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.evaluation.label_figures import checked, cuts
from classifiers.heads.multilabel.base import Thresholds


def tune_thresholds(scores: ArrayLike, truth: ArrayLike, *, least: int = 1) -> Thresholds:
    """For every label the threshold with the best F1 on these rows.

    Among equals the highest, midway between two scores. `common` has the best F1 of all labels' decisions together.
    Labels with fewer than `least` positive rows get it too: without one their own F1 is 0 whatever the threshold. So
    do labels that come later.

    Args:
        scores: (n, L), as `Head.scores` gives them.
        truth: (n, L), which labels each row has: bool, or 0 and 1.

    Raises ValueError: no rows, shapes that do not fit, scores that are NaN, truth that is neither 0 nor 1.
    """
    s, t = checked(scores, truth)
    s = s.astype(np.float32, copy=False)
    common = best_cut(s.ravel(), t.ravel())
    positives = np.count_nonzero(t, axis=0)
    own = [best_cut(s[:, k], t[:, k]) if positives[k] >= max(1, least) else common for k in range(s.shape[1])]
    return Thresholds(np.array(own, np.float32), np.array([common], np.float32))


def best_cut(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> Any:
    """The threshold of the best F1, the highest of them; above every score where no row is positive."""
    values, right, claimed = cuts(scores, truth)
    if not right[-1]:
        return np.nextafter(values[0], np.float32(np.inf))
    cut = int(np.argmax(2.0 * right / (claimed + right[-1])))
    if cut + 1 == len(values):
        return values[cut]
    middle = values[cut] + (values[cut + 1] - values[cut]) / np.float32(2)
    return middle if middle > values[cut + 1] else values[cut]  # the two may be neighbours in float32
