"""A cascade: the cheap encoder first, the next one only for rows that are still unsure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.fusion.rules import filled, weighted

NEVER = 2.0
"""A threshold that no probability reaches: every row goes to the last stage."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """Stage s fuses the first s + 1 members of `order`; a row stops where it is sure enough.

    Attributes:
        order: members, one a stage, (S,).
        costs: what the encoder of each member costs, in any one unit, by member, (S,).
        threshold: largest probability at which a row stops.
        weights: of the members so far, in `order`, float32 (S, S), rows sum to 1 and are 0 beyond the diagonal.
        temperatures: of each stage's scores, float32 (S,), so that one threshold means the same at every stage.
    """

    order: tuple[int, ...]
    costs: tuple[float, ...]
    threshold: float
    weights: NDArray[np.float32]
    temperatures: NDArray[np.float32]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.weights))) or len(self.costs) != len(self.order):
            raise ValueError(f"a cascade's order {self.order} and costs {self.costs} must name every member once")

    def step_scores(self, logs: NDArray[Any]) -> NDArray[Any]:
        """Scores (n, S, K) of every stage from log-probabilities (n, S, K), which may hold -inf."""
        stages = [
            weighted(filled(logs[:, self.order[: stage + 1]]), self.weights[stage, : stage + 1])
            / logs.dtype.type(self.temperatures[stage])
            for stage in range(len(self.order))
        ]
        return np.stack(stages, axis=1)

    def scores(self, logs: NDArray[Any]) -> NDArray[Any]:
        """The scores of the stage at which each row stops, (n, K)."""
        stages = self.step_scores(logs)
        return np.asarray(stages[np.arange(len(logs)), stopping(sureness(stages), self.threshold)])

    def unsure(self, logs: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows reach the threshold at no stage, from log-probabilities (n, S, K), (n,)."""
        return np.asarray((sureness(self.step_scores(logs)) < self.threshold).all(axis=1))

    def spent(self) -> NDArray[np.float64]:
        """What a row has cost that stops at each stage, (S,)."""
        return np.cumsum([self.costs[member] for member in self.order])

    def only(self, members: Sequence[int]) -> Self:
        """The same without the other members, which are renumbered; every stage keeps its temperature."""
        stages = [stage for stage, member in enumerate(self.order) if member in members]
        weights = self.weights[np.ix_(stages, stages)]
        return type(self)(
            order=tuple(members.index(self.order[stage]) for stage in stages),
            costs=tuple(self.costs[member] for member in members),
            threshold=self.threshold,
            weights=rescaled(weights),
            temperatures=self.temperatures[stages],
        )


def rescaled(weights: NDArray[Any]) -> NDArray[np.float32]:
    """Stage weights (S, S) with rows that sum to 1; a row of zeros goes to the member that its stage brings in."""
    total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    some = total > 0
    return np.where(some, weights / np.where(some, total, 1), np.eye(len(weights))).astype(np.float32)


def sureness(scores: NDArray[Any]) -> NDArray[Any]:
    """The largest probability of softmax(scores) along the last axis."""
    return np.asarray(1 / np.exp(scores - scores.max(axis=-1, keepdims=True)).sum(axis=-1))


def stopping(sureness: NDArray[Any], threshold: float) -> NDArray[np.intp]:
    """Per row of sureness (n, S), the first stage that reaches `threshold`, else the last, (n,).

    Threshold 0 stops every row at the first stage; one above 1 takes all to the last.
    """
    sure = sureness >= threshold
    sure[:, -1] = True
    return np.asarray(sure.argmax(axis=1))
