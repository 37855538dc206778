"""A cascade: the cheap encoder first, each next one only for rows on which it is still uncertain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.fusion.rules import filled, weighted

NEVER = 2.0
"""A threshold that no probability reaches: every row goes to the last step."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """The steps of a cascade. Step s fuses the first s + 1 members of `order`; a row stops once a step is sure enough.

    Attributes:
        order: the member that each step adds, (S,).
        costs: cost of the encoder of each member, in any common unit, by member, (S,).
        threshold: a row stops if its largest probability reaches this value.
        weights: weights of the members in `order` at each step, float32 (S, S); rows sum to 1 and are 0 beyond the
            diagonal.
        temperatures: divide the scores of each step, float32 (S,), so that one threshold means the same at every step.
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
        """Return every step's scores (n, S, K) from the members' log-probabilities (n, S, K), which may be -inf."""
        steps = [
            weighted(filled(logs[:, self.order[: step + 1]]), self.weights[step, : step + 1])
            / logs.dtype.type(self.temperatures[step])
            for step in range(len(self.order))
        ]
        return np.stack(steps, axis=1)

    def scores(self, logs: NDArray[Any]) -> NDArray[Any]:
        """Return the scores of the step at which each row stops, (n, K)."""
        steps = self.step_scores(logs)
        return np.asarray(steps[np.arange(len(logs)), stopping(sureness(steps), self.threshold)])

    def unsure(self, logs: NDArray[Any]) -> NDArray[np.bool_]:
        """True for rows that reach the threshold at no step, (n,), from log-probabilities (n, S, K)."""
        return np.asarray((sureness(self.step_scores(logs)) < self.threshold).all(axis=1))

    def spent(self) -> NDArray[np.float64]:
        """Return the total cost of a row that stops at each step, (S,)."""
        return np.cumsum([self.costs[member] for member in self.order])

    def only(self, members: Sequence[int]) -> Self:
        """Return the cascade of these members alone, renumbered. Every step keeps its temperature."""
        steps = [step for step, member in enumerate(self.order) if member in members]
        weights = self.weights[np.ix_(steps, steps)]
        return type(self)(
            order=tuple(members.index(self.order[step]) for step in steps),
            costs=tuple(self.costs[member] for member in members),
            threshold=self.threshold,
            weights=rescaled(weights),
            temperatures=self.temperatures[steps],
        )


def rescaled(weights: NDArray[Any]) -> NDArray[np.float32]:
    """Return step weights (S, S) with rows that sum to 1; a row of zeros gives all to the member that the step adds."""
    total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    some = total > 0
    return np.where(some, weights / np.where(some, total, 1), np.eye(len(weights))).astype(np.float32)


def sureness(scores: NDArray[Any]) -> NDArray[Any]:
    """Return the largest probability of softmax(scores) along the last axis."""
    return np.asarray(1 / np.exp(scores - scores.max(axis=-1, keepdims=True)).sum(axis=-1))


def stopping(sureness: NDArray[Any], threshold: float) -> NDArray[np.intp]:
    """Return for each row of sureness (n, S) the first step that reaches `threshold`, or the last step, (n,).

    A threshold of 0 stops every row at the first step; one above 1 takes all rows to the last.
    """
    sure = sureness >= threshold
    sure[:, -1] = True
    return np.asarray(sure.argmax(axis=1))
