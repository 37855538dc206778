"""Answers of published heads, and the reasons for which a head abstains."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["low_probability", "outlier", "no_outlier_score"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a head for one row.

    Attributes:
        label: the most probable class, even if the head abstains.
        probability: calibrated probability of `label`.
        top_k: (class, probability), most probable first.
        labels: (label, probability) for each label that reaches its threshold, most probable first; None if a row has
            exactly one class.
        prediction_set: classes, most probable first, that contain the true class with probability ≥ `coverage`; never
            empty, None for a head without validation rows.
        coverage: the requested coverage; None without a prediction set.
        outlier_percentile: percentage of validation rows with a lower outlier score, 0…100; None for a head without
            outlier scores.
        abstained: reasons not to use the label, by the requested limits; empty if there are none.
    """

    label: str
    probability: float
    top_k: tuple[tuple[str, float], ...]
    labels: tuple[tuple[str, float], ...] | None
    prediction_set: tuple[str, ...] | None
    coverage: float | None
    outlier_percentile: float | None
    abstained: tuple[Reason, ...] = ()


def reasons(
    probability: float, percentile: float | None, min_probability: float | None, max_outlier: float | None
) -> tuple[Reason, ...]:
    """Return the reasons not to use an answer. None stands for no limit."""
    found: list[Reason] = []
    if min_probability is not None and probability < min_probability:
        found.append("low_probability")
    if max_outlier is not None and (percentile is None or percentile > max_outlier):
        found.append("no_outlier_score" if percentile is None else "outlier")
    return tuple(found)
