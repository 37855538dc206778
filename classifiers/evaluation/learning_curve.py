"""The learning curve of a head: how good it is by the number of training rows, and what twice as many would bring."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.outcomes import BOOTSTRAP_DRAWS
from classifiers.evaluation.paired import Difference, bootstrap_means, difference

LEAST_POINTS = 3
"""Smallest number of points from which a gain is predicted: a power law goes through any two."""

LEAST_GAIN = 0.001
"""Lower limit of the interval of a predicted gain: less is not worth a prediction."""


@dataclass(frozen=True, slots=True)
class Point:
    """The figure of heads that learned from `rows` training rows, in 0…1, with its 95 % interval."""

    rows: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Points by number of training rows, fewest first, and the gains of doublings.

    Attributes:
        held_out: number of rows on which the heads were measured.
        last: the gain of the last step, from the second-last point to the last.
        next: the gain that a power law predicts for twice as many training rows; None if the points do not support it.
    """

    points: tuple[Point, ...]
    held_out: int
    last: Difference
    next: Difference | None

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes; JSON-serialisable."""
        return asdict(self)


def learning_curve(sizes: Sequence[int], values: NDArray[np.float64], seed: int = 0) -> LearningCurve:
    """Return the curve of heads that were measured on the same n ≥ 1 rows.

    All intervals come from one bootstrap of the rows, so the difficulty of the rows cancels out in the gains. The
    prediction fits error = a · size^-b (Hestness et al. 2017, "Deep learning scaling is predictable, empirically") and
    is left out unless the fit lies within the interval of every point and the gain's interval is above `LEAST_GAIN`.
    A curve that flattens is continued with the slope of its last step, if that is less than that of the fit.

    Args:
        sizes: numbers of training rows, (m ≥ 2,), increasing.
        values: figure of each row under each head, in 0…1, (n, m).
    """
    drawn, means = bootstrap_means(values, seed, BOOTSTRAP_DRAWS), values.mean(axis=0)
    lows, highs = np.quantile(drawn, (0.025, 0.975), axis=0)
    points = tuple(
        Point(size, *some) for size, *some in zip(sizes, means.tolist(), lows.tolist(), highs.tolist(), strict=True)
    )
    last = difference(means[-1] - means[-2], drawn[:, -1] - drawn[:, -2], 1)
    return LearningCurve(points, len(values), last, _next(np.log(np.array(sizes)), means, drawn, lows, highs))


def _next(
    logs: NDArray[np.float64],
    means: NDArray[np.float64],
    drawn: NDArray[np.float64],
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
) -> Difference | None:
    """Return the predicted gain of twice the training rows; None if the points do not support a prediction."""
    errors = 1 - means
    if len(logs) < LEAST_POINTS or errors[-1] <= 0:
        return None
    fitted = np.exp(np.log(np.maximum(errors, _SMALLEST)).mean() + _slopes(logs, errors) * (logs.mean() - logs))
    if ((1 - fitted < lows) | (1 - fitted > highs)).any():
        return None
    found = difference(_gains(logs, errors), _gains(logs, 1 - drawn), 1)
    return found if found.low >= LEAST_GAIN else None


_SMALLEST = 1e-4
"""Lower limit of an error, whose logarithm is fitted."""


def _gains(logs: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gain of twice the training rows, (…), that errors (…, m) promise."""
    slope = np.minimum(_slopes(logs, errors), _slopes(logs[-2:], errors[..., -2:]))
    return np.asarray(errors[..., -1] * (1 - 2.0**-slope))


def _slopes(logs: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return b of the least-squares fit log error = log a - b · log size, (…), for errors (…, m)."""
    centred = logs - logs.mean()
    return np.asarray(-np.log(np.maximum(errors, _SMALLEST)) @ centred / (centred @ centred))
