"""The outcomes of heads that give a row any number of labels, their figures, and their comparison on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from classifiers.evaluation.label_figures import LabelEvaluation, evaluate_labels
from classifiers.evaluation.outcomes import BOOTSTRAP_DRAWS
from classifiers.evaluation.paired import Difference, difference
from classifiers.evaluation.reports.labels import binary_nll
from classifiers.evaluation.trust import Reliability, reliability

MOST_CELLS, LEAST_DRAWS = 2 * 10**9, 200
"""Maximum number of weighted cells (draws × rows × labels) of a bootstrap, and the least number of draws: 2 · 10⁹ cells
take about 20 s. So 767 rows with 18 labels get all draws, and 40,000 rows with 80 labels 625."""


@dataclass(frozen=True, slots=True)
class LabelOutcomes:
    """Calibrated scores of some rows with their labels.

    Attributes:
        logits: log odds of each label, float32 (n, L).
        truth: true where a row has a label, (n, L).
        limits: log odds from which each label is given, float32 (L,).
    """

    logits: NDArray[np.float32]
    truth: NDArray[np.bool_]
    limits: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True, slots=True)
class LabelMeasured:
    """Figures of a head on the rows of one split, with bootstrap draws that are paired between heads.

    Attributes:
        figures: figures of the log odds.
        nll: mean binary cross-entropy of a row and a label, in nats.
        map_draws: mAP of each draw of rows, (draws,), less their bias: rows that are drawn twice raise an average
            precision. The same seed draws the same rows for every head.
        nll_draws: NLL of each draw, (draws,).
    """

    figures: LabelEvaluation
    nll: float
    reliability: Reliability
    map_draws: NDArray[np.float64]
    nll_draws: NDArray[np.float64]

    @classmethod
    def of(cls, outcomes: LabelOutcomes, classes: tuple[str, ...], seed: int) -> "LabelMeasured":
        """Return the figures of outcomes, n ≥ 1 rows."""
        logits, truth = outcomes.logits, outcomes.truth
        figures, (drawn, losses) = evaluate_labels(logits, truth, classes, outcomes.limits), draws(logits, truth, seed)
        return cls(
            figures,
            binary_nll(logits, truth),
            reliability(expit(logits).ravel(), truth.ravel()),
            drawn - drawn.mean() + figures.map,
            losses,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return self.figures.classes

    @property
    def rows(self) -> int:
        return self.figures.rows

    @property
    def ece(self) -> float:
        return self.reliability.error()

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mAP."""
        low, high = np.quantile(self.map_draws, (0.025, 0.975)).tolist()
        return low, high

    def summary(self) -> dict[str, float]:
        low, high = self.interval
        own = {"map_low": low, "map_high": high, "nll": self.nll, "ece": self.ece}
        return {**self.figures.summary(), **own}

    def lead(self, other: "LabelMeasured") -> "LabelPair":
        """Return the comparison with another head on the same rows."""
        found = self.figures.map - other.figures.map, self.nll - other.nll
        return LabelPair(
            difference(found[0], self.map_draws - other.map_draws, 1),
            difference(found[1], self.nll_draws - other.nll_draws, -1),
        )


@dataclass(frozen=True, slots=True)
class LabelPair:
    """Head A compared with head B on the same rows: in `map` (0…1, more is better) and `nll` (nats, less is)."""

    map: Difference
    nll: Difference

    @property
    def alike(self) -> bool:
        """True if the difference may be chance: both intervals contain 0."""
        return self.map.low <= 0 <= self.map.high and self.nll.low <= 0 <= self.nll.high


def draws(
    logits: NDArray[np.float32], truth: NDArray[np.bool_], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mAP and the NLL of rows drawn with replacement, (draws,) each.

    Raises ValueError for no rows.
    """
    n, L = logits.shape
    count = int(np.clip(MOST_CELLS // (n * L), LEAST_DRAWS, BOOTSTRAP_DRAWS))
    rng = np.random.default_rng(seed)
    times = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(count)]).astype(np.float32)
    wide = logits.astype(np.float64)
    losses = (np.logaddexp(0.0, wide) - truth * wide).mean(axis=1)
    known = np.flatnonzero(truth.any(axis=0))
    precisions = np.full((count, len(known)), np.nan)
    for column, label in enumerate(known.tolist()):
        precisions[:, column] = drawn_precisions(logits[:, label], truth[:, label], times)
    seen = np.isfinite(precisions)
    total = np.where(seen, precisions, 0.0).sum(axis=1)
    return total / np.maximum(seen.sum(axis=1), 1), times @ losses / n


def drawn_precisions(
    scores: NDArray[np.float32], there: NDArray[np.bool_], times: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the average precision of one label in each draw, (draws,); NaN in draws without a positive row.

    Args:
        scores: (n,).
        there: (n,).
        times: how often each draw has each row, (draws, n).
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # equal scores enter together
    weights = times[:, order]
    claimed = np.cumsum(weights, axis=1)[:, last]
    right = np.cumsum(weights * there[order], axis=1)[:, last]
    steps = np.diff(right, prepend=0, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(claimed > 0, right / claimed, 0.0)
        return np.asarray((steps * precision).sum(axis=1, dtype=np.float64) / right[:, -1])


def lead_of(best: LabelMeasured, others: Mapping[str, LabelMeasured]) -> dict[str, Any]:
    """Return the comparison of `best` with each of `others`, by the names of the others."""
    return {name: best.lead(other) for name, other in others.items()}
