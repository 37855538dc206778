"""When a head may be believed: its confidence against its accuracy, what it gains by abstaining, and strangers.

Pure functions of arrays; rows are given by confidence, and by whether they are right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017 (arXiv 1706.04599)."""

SHARES = 20
"""Points of the risk-coverage curve: 5 %, 10 %, … of the rows answered."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Rows in equal bins (low, high] of confidence, lowest first; empty bins are left out. Each (bins,).

    Attributes:
        low: lower end of the bin; it is 1 / `ECE_BINS` wide.
        confidence, accuracy: means over the bin's rows.
    """

    low: NDArray[np.float64]
    rows: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    def error(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| of the rows' bins."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.rows))


@dataclass(frozen=True, slots=True)
class Selective:
    """What a head gains by answering only where it is confident; few answered first. Each (points,).

    Attributes:
        min_probability: least confidence that is answered.
        answered: share of the rows that have it.
        accuracy: of those rows.
    """

    min_probability: NDArray[np.float64]
    answered: NDArray[np.float64]
    accuracy: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Strangers:
    """How well rows of the split `ood` stand out from those of another.

    Attributes:
        against: the other split, with `against_rows` rows.
        auroc: by score; 0.5 is chance.
        flagged: outlier percentile → share of the strangers, and of the other rows, that are above it.
    """

    rows: int
    against: str
    against_rows: int
    auroc: Mapping[str, float]
    flagged: Mapping[int, tuple[float, float]]


def reliability(confidence: NDArray[Any], right: NDArray[np.bool_]) -> Reliability:
    """Rows with confidence (n,), and whether they are right (n,), in `ECE_BINS` equal bins (low, high]."""
    wide = confidence.astype(np.float64)
    bins = np.clip(np.ceil(wide * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    rows = np.bincount(bins, minlength=ECE_BINS)
    filled = np.flatnonzero(rows)
    means = [np.bincount(bins, weights=each, minlength=ECE_BINS)[filled] / rows[filled] for each in (wide, right)]
    return Reliability(filled / ECE_BINS, rows[filled], *means)


def risk_coverage(confidence: NDArray[Any], right: NDArray[np.bool_]) -> Selective:
    """Accuracy of the most confident rows, for `SHARES` shares of them; rows that tie are answered together.

    El-Yaniv and Wiener 2010. Arguments as in `reliability`, n ≥ 1.
    """
    n = len(confidence)
    ranked = np.sort(confidence)[::-1]
    limits = np.unique(ranked[-(-np.arange(1, SHARES + 1) * n // SHARES) - 1])[::-1]
    answered = np.searchsorted(-ranked, -limits, side="right")
    correct = np.cumsum(right[np.argsort(-confidence, kind="stable")])[answered - 1]
    return Selective(limits.astype(np.float64), answered / n, correct / answered)


def risk_coverage_area(confidence: NDArray[Any], right: NDArray[np.bool_]) -> float:
    """AURC (Geifman, Uziel, El-Yaniv 2019, arXiv 1805.08206); tied rows count as wrong as they are on average."""
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    risk = 1.0 - np.bincount(group, weights=right) / sizes
    errors = np.cumsum(np.repeat(risk, sizes))
    return float(np.mean(errors / np.arange(1, len(errors) + 1)))


def auroc(known: NDArray[Any], strangers: NDArray[Any]) -> float:
    """How often a stranger's score is above a known row's, ties counting half; (n,) and (m,), neither empty.

    The Mann-Whitney statistic, which is the area under the ROC curve.
    """
    ordered = np.sort(known)
    below, not_above = (np.searchsorted(ordered, strangers, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(known)))
