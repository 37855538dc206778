"""Figures on how far a head can be trusted: calibration, accuracy with abstention, and out-of-distribution rows.

These are pure functions of arrays: the confidence of each row, and a flag that is true where the head is right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15
"""Number of equal-width bins of confidence, as in Guo et al. 2017 (arXiv 1706.04599)."""

SHARES = 20
"""Points of the risk-coverage curve: 5 %, 10 %, … of the rows answered."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Rows in equal-width bins (low, high] of confidence, lowest first, without empty bins. Each field is (bins,).

    Attributes:
        low: lower end of the bin; it is 1 / `ECE_BINS` wide.
        confidence, accuracy: means over the bin's rows.
    """

    low: NDArray[np.float64]
    rows: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    def error(self) -> float:
        """Return the expected calibration error: |accuracy - confidence| of the bins, averaged over the rows."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.rows))


@dataclass(frozen=True, slots=True)
class Selective:
    """Accuracy of a head that answers only where it is confident, smallest share first. Each field is (points,).

    Attributes:
        min_probability: lower limit of the confidence, below which a row is not answered.
        answered: share of the rows that are answered.
        accuracy: accuracy on the answered rows.
    """

    min_probability: NDArray[np.float64]
    answered: NDArray[np.float64]
    accuracy: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OutOfDistribution:
    """Figures on how well out-of-distribution rows (split `ood`) stand out from the rows of another split.

    Attributes:
        rows: number of out-of-distribution rows.
        against: name of the other split, which has `against_rows` rows.
        auroc: area under the ROC curve, by score; 0.5 is chance.
        flagged: {outlier percentile: shares of the out-of-distribution rows and of the other rows that are above it}.
    """

    rows: int
    against: str
    against_rows: int
    auroc: Mapping[str, float]
    flagged: Mapping[int, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON-able values."""
        flagged = [
            {"max_outlier": limit, "ood": ood, self.against: known} for limit, (ood, known) in self.flagged.items()
        ]
        return {
            "rows": self.rows,
            "against": self.against,
            "against_rows": self.against_rows,
            "auroc": dict(self.auroc),
            "flagged": flagged,
        }

    def markdown(self) -> list[str]:
        """Return one line on the AUROC, and one line for each percentile."""
        names = {"outlier": "outlier score", "max_probability": "probability"}
        areas = ", ".join(f"{value:.3f} by {names[name]}" for name, value in self.auroc.items())
        return [
            f"Out-of-distribution rows: {self.rows:,} rows of ood against {self.against_rows:,} of {self.against}: "
            f"AUROC {areas}. AUROC is how often an out-of-distribution row looks less familiar than a known row: 0.5 "
            "is chance, 1 is perfect.",
            *(
                f"`max_outlier={limit}` turns away {ood:.1%} of the out-of-distribution rows and {known:.1%} of "
                f"{self.against}."
                for limit, (ood, known) in self.flagged.items()
            ),
        ]


def reliability(confidence: NDArray[Any], right: NDArray[np.bool_]) -> Reliability:
    """Return the rows' confidence and accuracy in `ECE_BINS` bins (low, high] of equal width.

    Args:
        confidence: probability of the predicted class, (n,) in 0…1.
        right: true where the prediction is right, (n,).
    """
    wide = confidence.astype(np.float64)
    bins = np.clip(np.ceil(wide * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    rows = np.bincount(bins, minlength=ECE_BINS)
    filled = np.flatnonzero(rows)
    means = [np.bincount(bins, weights=each, minlength=ECE_BINS)[filled] / rows[filled] for each in (wide, right)]
    return Reliability(filled / ECE_BINS, rows[filled], *means)


def risk_coverage(confidence: NDArray[Any], right: NDArray[np.bool_]) -> Selective:
    """Return the accuracy of the most confident rows, for `SHARES` shares of the rows.

    Rows that tie are answered together. Source: El-Yaniv and Wiener 2010. Arguments as in `reliability`, n ≥ 1.
    """
    n = len(confidence)
    ranked = np.sort(confidence)[::-1]
    limits = np.unique(ranked[-(-np.arange(1, SHARES + 1) * n // SHARES) - 1])[::-1]
    answered = np.searchsorted(-ranked, -limits, side="right")
    correct = np.cumsum(right[np.argsort(-confidence, kind="stable")])[answered - 1]
    return Selective(limits.astype(np.float64), answered / n, correct / answered)


def risk_coverage_area(confidence: NDArray[Any], right: NDArray[np.bool_]) -> float:
    """Return the AURC, the mean error rate of the k most confident rows over k = 1…n.

    Tied rows all count with their mean error. Source: Geifman, Uziel, El-Yaniv 2019, arXiv 1805.08206. Arguments as in
    `reliability`, n ≥ 1.
    """
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    risk = 1.0 - np.bincount(group, weights=right) / sizes
    errors = np.cumsum(np.repeat(risk, sizes))
    return float(np.mean(errors / np.arange(1, len(errors) + 1)))


def auroc(known: NDArray[Any], ood: NDArray[Any]) -> float:
    """Return the area under the ROC curve of scores that should be higher for out-of-distribution rows.

    It is the share of pairs in which the score of an out-of-distribution row is above that of a known row, with ties
    counted half (the Mann-Whitney statistic).

    Args:
        known: scores of known rows, (n,), n ≥ 1.
        ood: scores of out-of-distribution rows, (m,), m ≥ 1.
    """
    ordered = np.sort(known)
    below, not_above = (np.searchsorted(ordered, ood, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(known)))
