"""Calibration of multi-label heads by Platt's sigmoid, one for all labels."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from classifiers.evaluation.reports.labels import binary_nll

Flat = np.ndarray[tuple[int], np.dtype[np.float64]]


class Platt(NamedTuple):
    """A calibration: probability = sigmoid((score + shift) / temperature)."""

    temperature: float = 1.0
    shift: float = 0.0


def fit_platt(scores: NDArray[Any], truth: NDArray[np.bool_]) -> Platt:
    """Fit the temperature and shift with the least binary cross-entropy over all labels of all rows (Platt 1999).

    The shift is needed because losses that weigh positives and negatives differently (ASL) make scores whose zero is
    not a probability of one half. All labels share the two numbers, because most labels have few positive rows, and
    because the numbers can then be used for labels that a head gets later.

    Targets are (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2) instead of 1 and 0, as in that paper. Otherwise a few rows that
    are all right would give probabilities of 0 and 1.

    Args:
        scores: (n, L), before the sigmoid.
        truth: (n, L), true if a row has the label.

    Returns:
        The fit. It is temperature 1 and shift 0 if no other values have a lower cross-entropy with the true labels, or
        if all labels or no labels are present.
    """
    s, there = scores.ravel().astype(np.float64), truth.ravel()
    positive = int(np.count_nonzero(there))
    negative = len(there) - positive
    if not positive or not negative:
        return Platt()
    target = np.where(there, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def objective(line: Flat) -> tuple[float, Flat]:
        logits = line[0] * s + line[1]
        excess = expit(logits) - target
        value = np.mean(np.logaddexp(0.0, logits) - target * logits)
        return float(value), np.array([np.mean(excess * s), np.mean(excess)])

    slope, offset = minimize(
        objective, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-8}
    ).x.tolist()
    if slope <= 0 or binary_nll(slope * s + offset, there) >= binary_nll(s, there):
        return Platt()
    return Platt(1.0 / slope, offset / slope)
