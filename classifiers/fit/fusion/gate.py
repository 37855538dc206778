"""Training of the gate of the Neural Logit Controller (arXiv 2405.17139, §3). It starts as exactly static stacking."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.calibration import LOWEST_SCORE
from classifiers.fit.held_out import stratified_folds
from classifiers.heads.base import probabilities
from classifiers.heads.fusion.gate import Gate, softplus
from classifiers.heads.fusion.rules import weighted

HIDDEN, HIDDEN_STATISTICS = 128, 16
"""Number of hidden units: the paper's number for vectors, and fewer for the 4 B statistics."""

RATE, DECAY, SHIFT_PENALTY = 1e-3, 0.01, 0.01
"""Learning rate of Adam (the paper's 2e-4 is too slow for `EPOCHS` full batches), weight decay, and penalty on the mean
δ². The decay acts on the weights themselves (AdamW). Inside Adam's gradient it would shrink the first layer to 0,
because the last layer starts at 0 and sends no gradient back."""

EPOCHS, PATIENCE = 200, 20
CHOOSING = 5
"""One row in this many is held out to choose the epoch."""

LEAST_ROWS = 20
"""With fewer rows no gate is trained."""


def fit_gate(
    inputs: NDArray[np.float32],
    logs: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    offsets: NDArray[np.float32],
    *,
    hidden: int,
    seed: int,
) -> tuple[Gate | None, NDArray[np.bool_]]:
    """Train a gate with full batches of AdamW on the cross-entropy of Σ_b softplus(c_b + δ_b) log p_b.

    Args:
        inputs: input of the gate (n, D), see `gate_inputs`.
        logs: out-of-fold log-probabilities (n, B, K).
        codes: true classes (n,).
        offsets: c of static stacking, (B,).
        hidden: number of hidden units.
        seed: seed of the first layer and of the choice of held-out rows.

    Returns:
        The gate of the epoch with the least cross-entropy on held-out rows; None if no epoch is better than δ = 0, or
        for fewer than `LEAST_ROWS` rows. Then a mask of the held-out rows, bool (n,).
    """
    rng = np.random.default_rng(seed)
    choosing = stratified_folds(codes, CHOOSING, rng) == 0
    if len(codes) < LEAST_ROWS:
        return None, choosing
    logs = np.maximum(logs, LOWEST_SCORE)
    training = inputs[~choosing], logs[~choosing], codes[~choosing]
    gate = Gate.initial(inputs.shape[1], hidden, logs.shape[1], rng)
    best, least, found = None, gated_loss(gate, inputs[choosing], logs[choosing], codes[choosing], offsets), 0
    state = [np.zeros_like(array) for array in parameters(gate)], [np.zeros_like(array) for array in parameters(gate)]
    for epoch in range(1, EPOCHS + 1):
        gate = adam_step(gate, gradient(gate, *training, offsets), state, epoch)
        loss = gated_loss(gate, inputs[choosing], logs[choosing], codes[choosing], offsets)
        if loss < least:
            best, least, found = gate, loss, epoch
        elif epoch - found >= PATIENCE:
            break
    return best, choosing


def parameters(gate: Gate) -> tuple[NDArray[np.float32], ...]:
    """Return the arrays of a gate, in the order of its fields."""
    return tuple(getattr(gate, name) for name in Gate.__slots__)


def gated_loss(
    gate: Gate,
    inputs: NDArray[Any],
    logs: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    offsets: NDArray[Any],
) -> float:
    """Return the mean cross-entropy in nats, without penalties."""
    scores = weighted(logs, softplus(offsets + gate.shifts(inputs)))
    true = scores[np.arange(len(codes)), codes]
    return float(np.mean(np.logaddexp.reduce(scores, axis=1) - true, dtype=np.float64))


def gradient(
    gate: Gate,
    inputs: NDArray[Any],
    logs: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    offsets: NDArray[Any],
) -> tuple[NDArray[Any], ...]:
    """Return the gradient of the mean cross-entropy plus `SHIFT_PENALTY` × mean δ², for each of the gate's arrays."""
    before = inputs @ gate.hidden_weights.T + gate.hidden_bias
    hidden = np.maximum(before, 0)
    shifts = hidden @ gate.out_weights.T + gate.out_bias
    scores = weighted(logs, softplus(offsets + shifts))
    by_score = probabilities(scores)
    by_score[np.arange(len(codes)), codes] -= 1
    slope = probabilities(offsets + shifts, "sigmoid")  # derivative of softplus
    by_shift = np.einsum("nk,nbk->nb", by_score, logs) * slope / len(codes)
    by_shift = (by_shift + 2 * SHIFT_PENALTY * shifts / shifts.size).astype(inputs.dtype)
    by_before = (by_shift @ gate.out_weights) * (before > 0)
    return by_before.T @ inputs, by_before.sum(axis=0), by_shift.T @ hidden, by_shift.sum(axis=0)


def adam_step(
    gate: Gate,
    gradients: tuple[NDArray[Any], ...],
    state: tuple[list[NDArray[Any]], list[NDArray[Any]]],
    step: int,
) -> Gate:
    """Return the gate after step number `step` ≥ 1 of AdamW (Loshchilov and Hutter 2019).

    Args:
        state: first and second moments of the gradients, which are changed in place.
    """
    changed = []
    for array, slope, mean, square in zip(parameters(gate), gradients, *state, strict=True):
        mean += 0.1 * (slope - mean)
        square += 0.001 * (slope**2 - square)
        towards = (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        changed.append((array * (1 - RATE * DECAY) - RATE * towards).astype(np.float32))
    return Gate(*changed)
