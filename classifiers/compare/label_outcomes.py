"""The outcomes of heads that give a row any number of labels, their figures, and their comparison on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from classifiers.evaluation.label_figures import LabelEvaluation, evaluate_labels
from classifiers.evaluation.paired import Difference, difference
from classifiers.evaluation.reports.labels import binary_nll
from classifiers.evaluation.resampled import drawn_map, row_draws
from classifiers.evaluation.trust import Reliability, reliability


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
    (n, L), wide = logits.shape, logits.astype(np.float64)
    drawn = row_draws(n, L, seed)
    losses = (np.logaddexp(0.0, wide) - truth * wide).mean(axis=1)
    return drawn_map(logits, truth, drawn), drawn @ losses / n


def lead_of(best: LabelMeasured, others: Mapping[str, LabelMeasured]) -> dict[str, Any]:
    """Return the comparison of `best` with each of `others`, by the names of the others."""
    return {name: best.lead(other) for name, other in others.items()}
