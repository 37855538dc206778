"""The gate of a fused head: member weights that depend on the row (Neural Logit Controller, arXiv 2405.17139, §3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.transform import unit_rows

GateInputs = Literal["unit", "layer", "statistics"]

LEAST_WEIGHT = 1e-8
"""Least weight. It replaces a weight of 0, whose offset would be -inf."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate: δ(u) = relu(u W₁ᵀ + b₁) W₂ᵀ + b₂. Training starts at W₂ = 0 and b₂ = 0, where δ is exactly 0.

    Attributes:
        hidden_weights, hidden_bias: W₁ (H, D) and b₁ (H,), float32.
        out_weights, out_bias: W₂ (B, H) and b₂ (B,), float32.
    """

    hidden_weights: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    out_weights: NDArray[np.float32]
    out_bias: NDArray[np.float32]

    @classmethod
    def initial(cls, width: int, hidden: int, members: int, rng: np.random.Generator) -> Self:
        """Return a gate to train: W₁ and b₁ uniform in ±1/√D as in torch's Linear, W₂ and b₂ zero.

        Args:
            width: D, columns of the inputs.
            hidden: H.
            members: B.
        """
        bound = 1 / np.sqrt(width)
        hidden_weights = rng.uniform(-bound, bound, (hidden, width)).astype(np.float32)
        hidden_bias = rng.uniform(-bound, bound, hidden).astype(np.float32)
        return cls(hidden_weights, hidden_bias, np.zeros((members, hidden), np.float32), np.zeros(members, np.float32))

    def shifts(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return δ (n, B) of inputs (n, D)."""
        hidden = np.maximum(inputs @ self.hidden_weights.T + self.hidden_bias, 0)
        return np.asarray(hidden @ self.out_weights.T + self.out_bias)


def softplus(x: NDArray[Any]) -> NDArray[Any]:
    """Return log(1 + eˣ) > 0."""
    return np.asarray(np.logaddexp(x.dtype.type(0), x))


def inverse_softplus(weights: NDArray[Any]) -> NDArray[np.float32]:
    """Return the offsets c with softplus(c) = weights ≥ 0. A weight of 0 counts as `LEAST_WEIGHT`."""
    positive = np.maximum(weights.astype(np.float64), LEAST_WEIGHT)
    return (positive + np.log(-np.expm1(-positive))).astype(np.float32)


def gate_inputs(kind: GateInputs, blocks: Sequence[NDArray[Any]], logs: NDArray[Any]) -> NDArray[Any]:
    """Return the inputs of a gate (n, D) from the members' blocks (n, d_b) and log-probabilities (n, B, K).

    Args:
        kind: "unit" for the blocks at unit norm, side by side; "layer" for the blocks after `layer_norm`, side by side;
            "statistics" for `agreement_statistics`, which suits few labelled rows.
    """
    if kind == "statistics":
        return agreement_statistics(logs)
    standard = unit_rows if kind == "unit" else layer_norm
    return np.concatenate([standard(block) for block in blocks], axis=1)


def gate_width(kind: GateInputs, edges: Sequence[int]) -> int:
    """Return the number of columns of `gate_inputs` for blocks of columns between `edges`."""
    return 4 * (len(edges) - 1) if kind == "statistics" else edges[-1]


def layer_norm(X: NDArray[Any]) -> NDArray[Any]:
    """Return rows minus their mean, divided by their standard deviation; a constant row becomes zeros."""
    centred = X - X.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    return np.asarray(centred / np.where(deviation > 0, deviation, 1))


def agreement_statistics(logs: NDArray[Any]) -> NDArray[Any]:
    """Return four numbers for each row and member, (n, 4 B).

    The numbers are the largest probability, its margin over the second largest, the entropy in nats, and the share of
    members with the same most probable class. The first B columns hold the first number of all members, and so on.
    """
    p = np.exp(logs)
    top = -np.sort(-p, axis=2)[:, :, :2]
    entropy = -np.where(p > 0, p * np.where(p > 0, logs, 0), 0).sum(axis=2)
    choice = logs.argmax(axis=2)
    agreement = (choice[:, :, None] == choice[:, None, :]).mean(axis=2, dtype=logs.dtype)
    return np.concatenate([top[:, :, 0], top[:, :, 0] - top[:, :, 1], entropy, agreement], axis=1)
