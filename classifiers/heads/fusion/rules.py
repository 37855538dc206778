"""Fusion rules: pure functions of the members' log-probabilities (n, B members, K classes).

Each rule returns scores (n, K) for the softmax link. The class with the largest score is the rule's choice. No rule
depends on the order of the classes, except that exact ties between members or classes go to the lower number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Logs = NDArray[Any]

TIE = 0.5
"""Weight of the mean probability beside the votes: less than one vote, so that it only breaks ties."""

BORDA = (3, 2, 1)


def log_softmax(scores: NDArray[Any], temperatures: NDArray[Any] | None = None) -> Logs:
    """Return log softmax(z_b / T_b) of scores (n, B, K). `temperatures` (B,) default to 1."""
    scaled = scores if temperatures is None else scores / temperatures.astype(scores.dtype)[:, None]
    shifted = scaled - scaled.max(axis=2, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True)))


def filled(logs: Logs) -> Logs:
    """Replace the -inf of members that lack a class which other members have.

    The mean of the members that have the class replaces it, so a member without the class has no influence on it. A
    class that no member has stays at -inf.
    """
    known = np.isfinite(logs)
    if known.all():
        return logs
    having = known.sum(axis=1, keepdims=True)
    mean = np.where(known, logs, 0).sum(axis=1, keepdims=True) / np.maximum(having, 1).astype(logs.dtype)
    return np.where(known, logs, np.where(having > 0, mean, logs.dtype.type(-np.inf)))


def vote(logs: Logs, points: Sequence[int] = (1,)) -> NDArray[Any]:
    """Return log(points of all members + `TIE` × mean probability), whose softmax is the smoothed share of the points.

    Args:
        points: every member gives `points[r]` to the class that it ranks r-th.
    """
    ranked = np.argsort(-logs, axis=2, kind="stable")[:, :, : len(points)]
    given = np.zeros((len(logs), logs.shape[2]), logs.dtype)
    rows = np.arange(len(logs))
    for member in range(logs.shape[1]):
        for rank, worth in enumerate(points[: ranked.shape[2]]):
            given[rows, ranked[:, member, rank]] += worth
    impossible = np.isneginf(logs[:, 0])
    with np.errstate(divide="ignore"):
        votes = np.log(np.where(impossible, 0, given))
    return np.asarray(np.logaddexp(votes, probability_average(logs) + logs.dtype.type(np.log(TIE))))


def vote_1(logs: Logs) -> NDArray[Any]:
    """Each member votes for its most probable class. Summed probability breaks ties."""
    return vote(logs)


def vote_3(logs: Logs) -> NDArray[Any]:
    """Each member gives 3, 2, 1 points to its three most probable classes (Borda). Summed probability breaks ties."""
    return vote(logs, BORDA)


def confidence(logs: Logs) -> NDArray[Any]:
    """Return for each row the log-probabilities of the member with the largest probability.

    It is found as the member whose other classes have the least total probability: these totals differ even if the
    largest probabilities of several members all round to 1.
    """
    others = logs.copy()
    np.put_along_axis(others, logs.argmax(axis=2, keepdims=True), -np.inf, axis=2)
    chosen = np.logaddexp.reduce(others, axis=2).argmin(axis=1)
    return np.asarray(logs[np.arange(len(logs)), chosen])


def log_average(logs: Logs) -> NDArray[Any]:
    """Return mean_b log p_b: a product of experts."""
    return weighted(logs, np.full(logs.shape[1], 1 / logs.shape[1], logs.dtype))


def probability_average(logs: Logs) -> NDArray[Any]:
    """Return log mean_b p_b."""
    return np.asarray(np.logaddexp.reduce(logs, axis=1) - logs.dtype.type(np.log(logs.shape[1])))


def weighted(logs: Logs, weights: NDArray[Any]) -> NDArray[Any]:
    """Return Σ_b w_b log p_b, (n, K), with weights (B,), or (n, B) for weights of each row of `logs`."""
    with np.errstate(invalid="ignore"):  # a weight of 0 times -inf is NaN, replaced below
        total = weights[..., 0, None] * logs[:, 0]
        for member in range(1, logs.shape[1]):
            total = total + weights[..., member, None] * logs[:, member]
    impossible = np.isneginf(logs[:, 0])
    return np.asarray(np.where(impossible, logs.dtype.type(-np.inf), total))


RULES: Mapping[str, Callable[[Logs], NDArray[Any]]] = {
    "vote-1": vote_1,
    "vote-3": vote_3,
    "confidence": confidence,
    "log-average": log_average,
    "probability-average": probability_average,
}
"""Rules that learn nothing but temperatures."""

OLD_NAMES: Mapping[str, str] = {"logit-average": "log-average"}
"""Names of rules in heads, parameters and candidates that were saved earlier, with today's names. Logits differ from
log-probabilities by a term that all classes share and that cancels in the softmax, so both averages are one rule."""


def named(rule: str) -> str:
    """Return today's name of a rule."""
    return OLD_NAMES.get(rule, rule)
