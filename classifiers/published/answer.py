"""What a head says of one vector."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["low_probability", "outlier", "no_outlier_score"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a head says of one vector.

    Attributes:
        label: the most probable class, also where the head abstains.
        probability: its calibrated probability.
        top_k: (label, probability), most probable first.
        labels: (label, probability) of those that reach their threshold, most probable first; None for heads that give
            each row exactly one.
        prediction_set: classes that together hold the true one with probability ≥ `coverage`, most probable
            first, never empty; None for a head without validation rows.
        coverage: as asked; None without a prediction set.
        outlier_percentile: percent of the validation rows that are more ordinary than this one (0…100); None
            for heads without an outlier score.
        abstained: why the label should not be used, by the limits that were asked for; empty where it may be.
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
    """Why an answer should not be used, by limits of which any may be None."""
    found: list[Reason] = []
    if min_probability is not None and probability < min_probability:
        found.append("low_probability")
    if max_outlier is not None and (percentile is None or percentile > max_outlier):
        found.append("no_outlier_score" if percentile is None else "outlier")
    return tuple(found)
