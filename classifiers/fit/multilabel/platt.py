"""Calibration of heads with a probability a label: Platt's sigmoid, one for all labels."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from classifiers.evaluation.reports.labels import binary_nll

Flat = np.ndarray[tuple[int], np.dtype[np.float64]]


class Platt(NamedTuple):
    """Calibrated: sigmoid((score + shift) / temperature)."""

    temperature: float = 1.0
    shift: float = 0.0


def fit_platt(scores: NDArray[Any], truth: NDArray[np.bool_]) -> Platt:
    """Temperature and shift that minimise the binary cross-entropy of all rows' labels together: Platt 1999.

    A shift as well as a temperature, because losses that weigh positives and negatives differently (ASL) leave scores
    whose zero is not the even chance. Two numbers for all labels and not two a label, because most labels have few
    positive rows, and because these hold for labels that a head is given later too.

    Targets are (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2) in place of 1 and 0, as in that paper: else few rows that are all
    right would ask for certainty. (1, 0) where nothing beats it by the true labels, or one of the two is missing.

    Args:
        scores: (n, L), before the sigmoid; `truth` (n, L).
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
