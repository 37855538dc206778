"""Figures over runs: their mean and deviation, an interval over test rows, and differences between two choices."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.outcomes import BOOTSTRAP_DRAWS
from classifiers.evaluation.paired import Difference, bootstrap_means, difference
from classifiers.reproduce.gmm.cells import Tested

ACCURACY, NLL, PLAIN = 0, 1, 2
"""Columns of `Measured.by_row`; PLAIN is the NLL before temperature."""
BETTER = {ACCURACY: 1, NLL: -1, PLAIN: -1}


@dataclass(frozen=True)
class Measured:
    """What an arm chose in each run, on test rows.

    Attributes:
        tested: the chosen cell of each run, (R,).
        total: number N of all rows of the task.
    """

    tested: tuple[Tested, ...]
    total: int
    seed: int = 0

    @cached_property
    def by_row(self) -> NDArray[np.float64]:
        """Figures of every row, averaged over the runs that measured it, (N, 3); NaN for rows that none measured."""
        sums, counts = np.zeros((self.total, 3)), np.zeros((self.total, 1))
        for each in self.tested:
            sums[each.rows] += each.by_row()
            counts[each.rows] += 1
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    def of(self, name: str) -> NDArray[np.float64]:
        """Return a figure of each run, (R,), such as "accuracy", "nll", "nll_uncalibrated" or "ece"."""
        return np.array([getattr(each.figures, name) for each in self.tested])

    def mean(self, name: str) -> float:
        return float(self.of(name).mean())

    def deviation(self, name: str) -> float | None:
        """Return the standard deviation over the runs; None for a single run."""
        values = self.of(name)
        return float(values.std(ddof=1)) if len(values) > 1 else None

    def interval(self, column: int) -> Difference:
        """Return the mean over the rows with its 95 % bootstrap interval."""
        return drawn(self.by_row[:, column], BETTER[column], self.seed)

    def lead(self, other: "Measured", column: int) -> Difference:
        """Return this minus the other, row by row, on rows that both were measured on, with its interval."""
        return drawn(self.by_row[:, column] - other.by_row[:, column], BETTER[column], self.seed)

    def sureness(self) -> Difference:
        """Return the NLL before the temperature minus that after it, in nats, with its interval."""
        return drawn(self.by_row[:, PLAIN] - self.by_row[:, NLL], 1, self.seed)

    def to_dict(self) -> dict[str, Any]:
        """Return the cells and figures of each run, and the intervals; JSON-serialisable."""
        names = ("accuracy", "nll", "nll_uncalibrated", "ece")
        return {
            "runs": [
                {
                    "share": each.cell.size.share,
                    "dims": each.cell.dims,
                    "components": each.cell.components,
                    "parameters": each.cell.parameters,
                    "held": each.cell.trial.parameters,
                    "temperature": each.cell.trial.temperature,
                    **{name: float(getattr(each.figures, name)) for name in names},
                }
                for each in self.tested
            ],
            **{name: {"mean": self.mean(name), "deviation": self.deviation(name)} for name in names},
            "accuracy_interval": ends(self.interval(ACCURACY)),
            "nll_interval": ends(self.interval(NLL)),
        }


def drawn(values: NDArray[np.float64], sign: int, seed: int) -> Difference:
    """Return the mean of values, one a row, with the interval over rows drawn with replacement; NaN is left out."""
    known = values[np.isfinite(values)]
    return difference(known.mean(), bootstrap_means(known[:, None], seed, BOOTSTRAP_DRAWS)[:, 0], sign)


def ends(found: Difference) -> list[float]:
    return [found.low, found.high]


def together(tested: Sequence[Tested], total: int, seed: int) -> Measured | None:
    """Return the figures over all runs; None if no run measured."""
    return Measured(tuple(tested), total, seed) if tested else None
