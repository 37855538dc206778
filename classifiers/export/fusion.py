"""Fusion rules as ONNX nodes: the functions of `classifiers.heads.fusion`, on log-probabilities (n, B, K)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.export.writer import Writer
from classifiers.heads.fusion.cascade import Cascade
from classifiers.heads.fusion.combiner import Combiner
from classifiers.heads.fusion.gate import Gate, GateInputs
from classifiers.heads.fusion.rules import BORDA, TIE

Rule = Callable[[Writer, str, int, int], str]
"""(writer, log-probabilities (n, B, K), B, K) → scores (n, K)."""


def combined(w: Writer, combiner: Combiner, logs: str, blocks: Sequence[str], n_classes: int) -> str:
    """Return the fused scores (n, K) of the members' log-probabilities and blocks, as `Combiner.scores` does."""
    if combiner.cascade is not None:
        return _cascade(w, combiner.cascade, logs)
    logs = filled(w, logs)
    if combiner.rule in RULES:
        return RULES[combiner.rule](w, logs, len(blocks), n_classes)
    offsets = w.constant(combiner.offsets[None])
    if combiner.gate is not None:
        offsets = w.op("Add", offsets, _shifts(w, combiner.gate, _gate_inputs(w, combiner.inputs, blocks, logs)))
    return weighted(w, logs, w.op("Softplus", offsets))


def log_softmax(w: Writer, scores: str, temperatures: NDArray[np.float32]) -> str:
    """Return log softmax(z_b / T_b) of scores (n, B, K) that may be -inf."""
    scaled = w.op("Div", scores, w.constant(temperatures[None, :, None]))
    shifted = w.op("Sub", scaled, w.reduced("Max", scaled, 2))
    return w.op("Sub", shifted, w.op("Log", w.reduced("Sum", w.op("Exp", shifted), 2)))


def filled(w: Writer, logs: str) -> str:
    """Replace the -inf of members that lack a class by the mean of those that have it."""
    unknown = w.impossible(logs)
    values = w.op("Where", unknown, w.constant(0), logs)
    having = w.reduced("Sum", w.op("Where", unknown, w.constant(0), w.constant(1)), 1)
    mean = w.op("Div", w.reduced("Sum", values, 1), w.op("Max", having, w.constant(1)))
    known = w.op("Where", w.true(having), mean, w.constant(-np.inf))
    return w.op("Where", unknown, known, logs)


def weighted(w: Writer, logs: str, weights: str) -> str:
    """Return Σ_b w_b log p_b, (n, K), of weights (n or 1, B); -inf where the first member has -inf."""
    unknown = w.impossible(logs)
    values = w.op("Where", unknown, w.constant(0), logs)
    total = w.reduced("Sum", w.op("Mul", values, w.unsqueezed(weights, 2)), 1, keep=False)
    return w.op("Where", _first(w, unknown), w.constant(-np.inf), total)


def _first(w: Writer, x: str) -> str:
    """Return the first member's part of x (n, B, K), (n, K)."""
    return w.op("Gather", x, w.constant(0, np.int64), axis=1)


def _log_average(w: Writer, logs: str, members: int, n_classes: int) -> str:  # noqa: ARG001 - a Rule
    return weighted(w, logs, w.constant(np.full((1, members), 1 / members)))


def _probability_average(w: Writer, logs: str, members: int, n_classes: int) -> str:  # noqa: ARG001 - a Rule
    return w.op("Sub", w.log_sum(logs, 1), w.constant(np.log(members)))


def _vote(points: Sequence[int]) -> Rule:
    def vote(w: Writer, logs: str, members: int, n_classes: int) -> str:
        """Return log(points + `TIE` × mean probability). TopK breaks ties by the lower number, as the rule does."""
        worth = points[:n_classes]
        ranked = w.ops("TopK", [logs, w.constant([len(worth)], np.int64)], [f"{logs}.values", f"{logs}.ranked"])[1]
        given = [
            w.chosen(w.op("Gather", ranked, w.constant(rank, np.int64), axis=2), n_classes, each)
            for rank, each in enumerate(worth)
        ]
        total = w.reduced("Sum", given[0] if len(given) == 1 else w.op("Sum", *given), 1, keep=False)
        possible = w.op("Where", _first(w, w.impossible(logs)), w.constant(0), total)
        average = w.op("Add", _probability_average(w, logs, members, n_classes), w.constant(np.log(TIE)))
        both = [w.unsqueezed(each, 0) for each in (w.op("Log", possible), average)]
        return w.log_sum(w.op("Concat", *both, axis=0), 0)

    return vote


def _confidence(w: Writer, logs: str, members: int, n_classes: int) -> str:
    """Return the log-probabilities of the member whose other classes have the least total probability."""
    best = w.true(w.chosen(w.op("ArgMax", logs, axis=2, keepdims=0), n_classes))
    others = w.log_sum(w.op("Where", best, w.constant(-np.inf), logs), 2)
    member = w.true(w.chosen(w.op("ArgMin", others, axis=1, keepdims=0), members))
    kept = w.op("Where", w.unsqueezed(member, 2), logs, w.constant(0))
    return w.reduced("Sum", kept, 1, keep=False)


RULES: Mapping[str, Rule] = {
    "vote-1": _vote((1,)),
    "vote-3": _vote(BORDA),
    "confidence": _confidence,
    "log-average": _log_average,
    "probability-average": _probability_average,
}


def _cascade(w: Writer, cascade: Cascade, logs: str) -> str:
    """Return the scores of the first step that is sure enough. All steps are computed: a graph reads all its inputs."""
    steps = []
    for step, temperature in enumerate(cascade.temperatures):
        some = w.op("Gather", logs, w.constant(cascade.order[: step + 1], np.int64), axis=1)
        found = weighted(w, filled(w, some), w.constant(cascade.weights[None, step, : step + 1]))
        steps.append(w.op("Div", found, w.constant(temperature)))
    answer = steps[-1]
    for scores in reversed(steps[:-1]):
        shifted = w.op("Sub", scores, w.reduced("Max", scores, 1))
        sureness = w.op("Reciprocal", w.reduced("Sum", w.op("Exp", shifted), 1))
        sure = w.op("GreaterOrEqual", sureness, w.constant(cascade.threshold))
        answer = w.op("Where", sure, scores, answer)
    return answer


def _shifts(w: Writer, gate: Gate, inputs: str) -> str:
    hidden = w.op("Relu", w.linear(inputs, gate.hidden_weights, gate.hidden_bias))
    return w.linear(hidden, gate.out_weights, gate.out_bias)


def _gate_inputs(w: Writer, kind: GateInputs, blocks: Sequence[str], logs: str) -> str:
    if kind == "statistics":
        return _agreement(w, logs)
    standard = w.unit if kind == "unit" else lambda block: _layer_norm(w, block)
    return w.op("Concat", *(standard(block) for block in blocks), axis=1)


def _layer_norm(w: Writer, x: str) -> str:
    centred = w.op("Sub", x, w.reduced("Mean", x, 1))
    deviation = w.op("Sqrt", w.reduced("Mean", w.op("Mul", centred, centred), 1))
    constant = w.op("Equal", deviation, w.constant(0))
    return w.op("Div", centred, w.op("Where", constant, w.constant(1), deviation))


def _agreement(w: Writer, logs: str) -> str:
    """Return `agreement_statistics`, (n, 4 B)."""
    p = w.op("Exp", logs)
    top = w.ops("TopK", [p, w.constant([2], np.int64)], [f"{p}.top", f"{p}.places"])[0]
    first, second = (w.op("Gather", top, w.constant(rank, np.int64), axis=2) for rank in (0, 1))
    finite = w.op("Where", w.impossible(logs), w.constant(0), logs)
    entropy = w.op("Neg", w.reduced("Sum", w.op("Mul", p, finite), 2, keep=False))
    choice = w.op("ArgMax", logs, axis=2, keepdims=0)
    same = w.op("Equal", w.unsqueezed(choice, 2), w.unsqueezed(choice, 1))
    agreement = w.reduced("Mean", w.op("Where", same, w.constant(1), w.constant(0)), 2, keep=False)
    return w.op("Concat", first, w.op("Sub", first, second), entropy, agreement, axis=1)
