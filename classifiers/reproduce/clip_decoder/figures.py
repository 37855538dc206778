"""The figures of a head: means over draws of the labels, with intervals over rows that are drawn with replacement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.label_figures import f1_at, mean_average_precision
from classifiers.evaluation.paired import Difference, difference
from classifiers.evaluation.resampled import Draws, drawn_f1_at, drawn_map

MAP = "map"
KS = {"f1_at_3": 3, "f1_at_5": 5}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of one head, in 0…1.

    Attributes:
        by_labels: its value for each draw of the labels, (D,).
        by_rows: its mean over the draws of the labels, for each draw of the rows, (B,), less its bias.
    """

    by_labels: NDArray[np.float64]
    by_rows: NDArray[np.float64]

    @classmethod
    def mean(cls, parts: Sequence["Figure"]) -> "Figure":
        """Return the figure over all draws of the labels, D ≥ 1, from that of each."""
        return cls(
            np.concatenate([each.by_labels for each in parts]), np.mean([each.by_rows for each in parts], axis=0)
        )

    @property
    def value(self) -> float:
        return float(self.by_labels.mean())

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the draws of the labels; None for a single draw."""
        return float(self.by_labels.std(ddof=1)) if len(self.by_labels) > 1 else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval over rows."""
        low, high = np.quantile(self.by_rows, (0.025, 0.975)).tolist()
        return low, high

    def lead(self, other: "Figure") -> "Lead":
        """Return the difference to another head on the same rows and draws."""
        apart = self.by_labels - other.by_labels
        found = difference(apart.mean(), self.by_rows - other.by_rows, 1)
        return Lead(found, int(np.count_nonzero(apart > 0)), len(apart))

    def to_dict(self) -> dict[str, Any]:
        low, high = self.interval
        own = {"mean": self.value, "low": low, "high": high}
        return own | {"deviation": self.deviation, "draws": self.by_labels.tolist()}


@dataclass(frozen=True, slots=True)
class Lead:
    """How far a head is ahead of another: the difference with its interval over rows, and in how many draws of all."""

    found: Difference
    ahead: int
    draws: int

    @property
    def sure(self) -> bool:
        """True if the interval is on one side of 0, and every draw of the labels agrees."""
        up = self.found.low > 0 and self.ahead == self.draws
        return up or (self.found.high < 0 and self.ahead == 0)


Figures = Mapping[str, Figure]
"""mAP, and F1 at 3 and 5 where there are more labels than that, by their names."""


def measure(scores: NDArray[np.float32], truth: NDArray[np.bool_], draws: Draws) -> dict[str, Figure]:
    """Return the figures of scores for one draw of the labels; scores and truth are (n, L)."""
    found = {MAP: figure(mean_average_precision(scores, truth), drawn_map(scores, truth, draws))}
    for name, k in KS.items():
        if k < scores.shape[1]:  # otherwise every head predicts every label
            found[name] = figure(f1_at(scores, truth, k), drawn_f1_at(scores, truth, k, draws))
    return found


def figure(value: float, drawn: NDArray[np.float64]) -> Figure:
    """Return a figure of one draw of the labels. The draws of rows are moved to its value, against their bias."""
    return Figure(np.array([value]), drawn - drawn.mean() + value)
