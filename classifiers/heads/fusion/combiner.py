"""The combiner of a fused head: a rule with its learned numbers, which makes one score from the members' scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.fusion.cascade import Cascade
from classifiers.heads.fusion.gate import Gate, GateInputs, gate_inputs, gate_width, inverse_softplus, softplus
from classifiers.heads.fusion.rules import RULES, filled, log_softmax, named, weighted

WEIGHTED = ("stack", "nlc", "concatenation")
"""Rules that weigh log-probabilities. `concatenation` does so only if a block is missing; otherwise one head reads all
columns."""

ALL_RULES = (*RULES, *WEIGHTED, "cascade")


@dataclass(frozen=True, slots=True)
class Combiner:
    """Scores (n, B, K) of B members → scores (n, K), computed in the dtype of the scores.

    `stack` is Σ_b w_b z_b / T_b with w_b = softplus(c_b), up to a term that all classes share. `nlc` has
    w_b(x) = softplus(c_b + δ_b(x)). If there is no gate, or its δ is 0, both are equal bit for bit.

    Attributes:
        rule: one of `ALL_RULES`.
        temperatures: T_b, float32 (B,).
        offsets: c_b, float32 (B,).
        gate: δ of `nlc`; None for other rules, and if no gate was better than none.
        inputs: kind of input that the gate reads.
        cascade: the steps of the rule `cascade`; None for other rules.
    """

    rule: str
    temperatures: NDArray[np.float32]
    offsets: NDArray[np.float32]
    gate: Gate | None = None
    inputs: GateInputs = "unit"
    cascade: Cascade | None = None

    def __post_init__(self) -> None:
        if self.rule not in ALL_RULES:
            raise ValueError(f"unknown rule {self.rule!r}; known: {', '.join(ALL_RULES)}")
        if (self.rule == "cascade") != (self.cascade is not None):
            raise ValueError("the rule 'cascade' needs steps, and no other rule has steps")

    @property
    def weights(self) -> NDArray[Any]:
        """Weights w_b of the members, float32 (B,). Their sum is the inverse temperature of the fused scores."""
        return softplus(self.offsets)

    def scores(self, member_scores: NDArray[Any], blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the fused scores (n, K) of member scores (n, B, K), which are -inf where a member lacks a class.

        Args:
            blocks: the columns of every member (n, d_b), which the gate may read.
        """
        logs = log_softmax(member_scores, self.temperatures)
        if self.cascade is not None:
            return self.cascade.scores(logs)
        logs = filled(logs)
        if self.rule in RULES:
            return RULES[self.rule](logs)
        offsets = self.offsets.astype(logs.dtype)
        if self.gate is not None:
            offsets = offsets + self.gate.shifts(gate_inputs(self.inputs, blocks, logs))
        return weighted(logs, softplus(offsets))

    def only(self, members: Sequence[int]) -> Self:
        """Return the rule for these members alone, with weights that sum to 1.

        A gate and a head on all columns need every block, so the weights replace them.
        """
        chosen = list(members)
        weights = self.weights[chosen].astype(np.float64)
        return type(self)(
            rule="stack" if self.rule in WEIGHTED else self.rule,
            temperatures=self.temperatures[chosen],
            offsets=inverse_softplus(weights / weights.sum()),
            cascade=None if self.cascade is None else self.cascade.only(chosen),
        )

    def settings(self) -> dict[str, Any]:
        """Return everything but the arrays; JSON-serialisable."""
        gate, cascade = self.gate, self.cascade
        return {
            "rule": self.rule,
            "gate": gate and {"inputs": self.inputs, "hidden": len(gate.hidden_bias)},
            "cascade": cascade
            and {"order": list(cascade.order), "costs": list(cascade.costs), "threshold": cascade.threshold},
        }

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return everything learned, by name."""
        own = {"temperatures": self.temperatures, "offsets": self.offsets}
        if self.gate is not None:
            own |= {f"gate_{name}": getattr(self.gate, name) for name in Gate.__slots__}
        if self.cascade is not None:
            own |= {"stage_weights": self.cascade.weights, "stage_temperatures": self.cascade.temperatures}
        return own

    @staticmethod
    def shapes(settings: Mapping[str, Any], edges: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `arrays`, all float32, for blocks of columns between `edges`."""
        members = len(edges) - 1
        shapes: dict[str, tuple[int, ...]] = {"temperatures": (members,), "offsets": (members,)}
        if (gate := settings["gate"]) is not None:
            hidden, width = gate["hidden"], gate_width(gate["inputs"], edges)
            of_gate = ((hidden, width), (hidden,), (members, hidden), (members,))
            shapes |= {f"gate_{name}": shape for name, shape in zip(Gate.__slots__, of_gate, strict=True)}
        if settings["cascade"] is not None:
            shapes |= {"stage_weights": (members, members), "stage_temperatures": (members,)}
        return shapes

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Return the combiner of these `arrays`, whose shapes were checked, and `settings`."""
        gate, cascade = settings["gate"], settings["cascade"]
        return cls(
            rule=named(settings["rule"]),
            temperatures=arrays["temperatures"],
            offsets=arrays["offsets"],
            gate=gate and Gate(*(arrays[f"gate_{name}"] for name in Gate.__slots__)),
            inputs=gate["inputs"] if gate else "unit",
            cascade=cascade
            and Cascade(
                order=tuple(cascade["order"]),
                costs=tuple(cascade["costs"]),
                threshold=cascade["threshold"],
                weights=arrays["stage_weights"],
                temperatures=arrays["stage_temperatures"],
            ),
        )
