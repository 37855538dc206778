"""Learning the rules of fusion from out-of-fold log-probabilities."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, minimize

from classifiers.evaluation.calibration import LOWEST_SCORE, fit_temperature, mean_nll
from classifiers.evaluation.reports.fusion import cascade_curve
from classifiers.fit.fusion.gate import HIDDEN, HIDDEN_STATISTICS, fit_gate
from classifiers.heads.fusion.cascade import NEVER, Cascade
from classifiers.heads.fusion.combiner import Combiner
from classifiers.heads.fusion.gate import GateInputs, gate_inputs, inverse_softplus
from classifiers.heads.fusion.head import Subsets, position
from classifiers.heads.fusion.rules import RULES, filled, log_softmax, weighted

MOST_BLOCKS = 10
"""Maximum number of blocks. All their subsets are measured, and ten blocks have 1,023 subsets."""

AUTO_RULES = ("log-average", "probability-average")
"""Rules that `choose_rule` compares, besides stack and concatenation. Votes and confidence are left out, because they
use less of the scores than averages do; and nlc, because its gate starts as stack and is only kept if it is better."""


def fit_temperatures(scores: NDArray[Any], codes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return the temperature of each member, (B,), from scores (n, B, K)."""
    return np.array([fit_temperature(scores[:, member], codes) for member in range(scores.shape[1])], np.float32)


def fit_combiner(
    rule: str,
    scores: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    blocks: Sequence[NDArray[Any]],
    temperatures: NDArray[np.float32],
    *,
    inputs: GateInputs = "unit",
    cascade: Cascade | None = None,
    seed: int = 0,
) -> tuple[Combiner, NDArray[np.bool_]]:
    """Fit the weights of a rule, and for "nlc" its gate, on rows that no member was trained on.

    Args:
        scores: scores of each member, (m, B, K); -inf for classes that it lacks.
        codes: true classes (m,).
        blocks: columns of each member, (m, d_b), which a gate may read.
        temperatures: see `fit_temperatures`, (B,).
        inputs: input of the gate.
        cascade: the steps, for the rule "cascade" only.
        seed: seed of the gate.

    Returns the combiner, and a mask that is false for the rows that a gate was trained on, (m,).
    """
    said = filled(log_softmax(scores, temperatures))
    weights = fit_weights(said, codes)
    weights /= fit_temperature(weighted(said, weights), codes)  # or a gate could win by temperature alone
    combiner = Combiner(rule, temperatures, inverse_softplus(weights), cascade=cascade)
    if rule != "nlc":
        return combiner, np.ones(len(codes), bool)
    hidden = HIDDEN_STATISTICS if inputs == "statistics" else HIDDEN
    read = gate_inputs(inputs, blocks, said).astype(np.float32)
    gate, measured = fit_gate(read, said, codes, combiner.offsets, hidden=hidden, seed=seed)
    return replace(combiner, gate=gate, inputs=inputs), measured


def fit_weights(logs: NDArray[Any], codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return the weights (B,) ≥ 0 with sum 1 that minimise the cross-entropy of Σ_b w_b log p_b.

    This is a Super Learner (van der Laan 2007). The problem is convex. SLSQP starts at equal weights; without rows, it
    returns them.

    Args:
        logs: log-probabilities (n, B, K).
        codes: true classes (n,).
    """
    members = logs.shape[1]
    equal = np.full(members, 1 / members)
    if len(codes) == 0 or members == 1:
        return equal
    wide = np.maximum(logs, LOWEST_SCORE).astype(np.float64)
    found = minimize(
        cross_entropy,
        equal,
        args=(wide, codes),
        jac=True,
        method="SLSQP",
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.ones(members), 1, 1),
        options={"ftol": 1e-9, "maxiter": 200},
    )
    weights = np.maximum(found.x, 0)
    weights /= weights.sum()
    better = cross_entropy(weights, wide, codes)[0] <= cross_entropy(equal, wide, codes)[0]
    return np.asarray(weights if better else equal)


def cross_entropy(
    weights: NDArray[np.float64], logs: NDArray[np.float64], codes: NDArray[np.integer[Any]]
) -> tuple[float, NDArray[np.float64]]:
    """Return the cross-entropy of softmax(Σ_b w_b logs_b) in nats, and its gradient (B,).

    Args:
        weights: w, (B,).
        logs: finite log-probabilities (n ≥ 1, B, K).
        codes: true classes (n,).
    """
    rows = np.arange(len(codes))
    scores = weighted(logs, weights)
    normaliser = np.logaddexp.reduce(scores, axis=1)
    p = np.exp(scores - normaliser[:, None])
    value = float(np.mean(normaliser - scores[rows, codes]))
    return value, np.asarray(np.einsum("nk,nbk->b", p, logs) - logs[rows, :, codes].sum(axis=0)) / len(codes)


def fit_cascade(
    logs: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    costs: Sequence[float],
    *,
    threshold: float | None,
    tolerance: float,
) -> Cascade:
    """Fit the steps of a cascade, from the cheapest encoder to the most expensive.

    Each step has its own weights and temperature.

    Args:
        logs: log-probabilities (n, B, K), which may be -inf.
        codes: true classes (n,).
        costs: cost of each member's encoder, (B,).
        threshold: probability at which the cascade stops. None chooses the cheapest threshold whose loss of accuracy
            against the last step, plus one standard error, is at most `tolerance`.
    """
    order = tuple(int(member) for member in np.argsort(costs, kind="stable"))
    weights, temperatures = np.zeros((len(order), len(order)), np.float32), np.ones(len(order), np.float32)
    for step in range(len(order)):
        so_far = filled(logs[:, order[: step + 1]])
        weights[step, : step + 1] = fit_weights(so_far, codes)
        temperatures[step] = fit_temperature(weighted(so_far, weights[step, : step + 1]), codes)
    spends = tuple(float(cost) for cost in costs)
    cascade = Cascade(order, spends, NEVER if threshold is None else float(threshold), weights, temperatures)
    if threshold is not None or len(codes) == 0:
        return cascade
    points = cascade_curve(cascade.step_scores(logs), codes, cascade.spent())
    enough = [point for point in points if point.loss + point.loss_error <= tolerance or point is points[-1]]
    return replace(cascade, threshold=min(enough, key=lambda point: point.cost).threshold)


def measure_subsets(
    combiner: Combiner, scores: NDArray[Any], codes: NDArray[np.integer[Any]], fused: NDArray[Any]
) -> Subsets:
    """Measure accuracy and temperature of every subset of the members.

    Args:
        scores: scores of each member, (n, B, K).
        codes: true classes (n,).
        fused: fused scores of all members, (n, K).
    """
    members = scores.shape[1]
    if len(codes) == 0:
        return Subsets.unmeasured()
    accuracy, temperature = np.zeros(2**members - 1, np.float32), np.ones(2**members - 1, np.float32)
    for number in range(1, 2**members):
        chosen = [member for member in range(members) if number >> member & 1]
        some = fused if len(chosen) == members else combiner.only(chosen).scores(scores[:, chosen], [])
        accuracy[position(chosen)] = np.mean(some.argmax(axis=1) == codes)
        temperature[position(chosen)] = fit_temperature(some, codes)
    return Subsets(accuracy, temperature)


def choose_rule(
    logs: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    fold: NDArray[np.int64],
    joint: NDArray[Any],
) -> dict[str, float]:
    """Return the NLL in nats of each rule that "auto" compares, at its best temperature.

    Args:
        logs: log-probabilities (n ≥ 1, B, K).
        codes: true classes (n,).
        fold: fold of each row (n,). The weights of `stack` are learned on the other folds.
        joint: scores (n, K) of one head on all columns.
    """
    stacked = np.empty_like(joint)
    for held in (fold == number for number in np.unique(fold)):
        stacked[held] = weighted(logs[held], fit_weights(logs[~held], codes[~held]).astype(logs.dtype))
    fused = {rule: RULES[rule](logs) for rule in AUTO_RULES if rule in RULES} | {
        "stack": stacked,
        "concatenation": joint,
    }
    return {rule: mean_nll(scores, codes, fit_temperature(scores, codes)) for rule, scores in fused.items()}
