"""Rules that fuse what several members say: pure functions of their log-probabilities (n, B members, K classes).

Each gives scores (n, K) for the softmax link: the largest is the rule's choice, and the softmax of them is a
distribution that says as much as the rule knows. None depends on the order of the classes; members and classes that
tie exactly go by their number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Logs = NDArray[Any]

TIE = 0.5
"""What a summed probability of 1 from every member counts for in votes: less than one vote, so it only breaks ties."""

BORDA = (3, 2, 1)


def log_softmax(scores: NDArray[Any], temperatures: NDArray[Any] | None = None) -> Logs:
    """log softmax(z_b / T_b) of scores (n, B, K); without `temperatures` (B,) as with ones."""
    scaled = scores if temperatures is None else scores / temperatures.astype(scores.dtype)[:, None]
    shifted = scaled - scaled.max(axis=2, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True)))


def filled(logs: Logs) -> Logs:
    """What the rules take: without the -inf of members that lack a class which others have.

    Who lacks a class has no say in it: it gets the mean of those members that have it. A class that no member has
    stays at -inf.
    """
    known = np.isfinite(logs)
    if known.all():
        return logs
    having = known.sum(axis=1, keepdims=True)
    mean = np.where(known, logs, 0).sum(axis=1, keepdims=True) / np.maximum(having, 1).astype(logs.dtype)
    return np.where(known, logs, np.where(having > 0, mean, logs.dtype.type(-np.inf)))


def vote(logs: Logs, points: Sequence[int] = (1,)) -> NDArray[Any]:
    """log(points of all members + `TIE` × mean probability): its softmax is the smoothed share of the points.

    Every member gives `points[r]` to the class it ranks r-th.
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
    """Each member votes for its best class; ties by summed probability."""
    return vote(logs)


def vote_3(logs: Logs) -> NDArray[Any]:
    """Each member gives 3, 2, 1 points to its three best classes (Borda); ties by summed probability."""
    return vote(logs, BORDA)


def confidence(logs: Logs) -> NDArray[Any]:
    """The log-probabilities of the member with the largest probability, row by row.

    That is the one that leaves least to its other classes, which tells members apart whose largest rounds to 1.
    """
    others = logs.copy()
    np.put_along_axis(others, logs.argmax(axis=2, keepdims=True), -np.inf, axis=2)
    chosen = np.logaddexp.reduce(others, axis=2).argmin(axis=1)
    return np.asarray(logs[np.arange(len(logs)), chosen])


def log_average(logs: Logs) -> NDArray[Any]:
    """mean_b log p_b: a product of experts."""
    return weighted(logs, np.full(logs.shape[1], 1 / logs.shape[1], logs.dtype))


def probability_average(logs: Logs) -> NDArray[Any]:
    """log mean_b p_b."""
    return np.asarray(np.logaddexp.reduce(logs, axis=1) - logs.dtype.type(np.log(logs.shape[1])))


def weighted(logs: Logs, weights: NDArray[Any]) -> NDArray[Any]:
    """Σ_b w_b log p_b, with weights (B,) or one row of them for every row of `logs`, (n, B)."""
    with np.errstate(invalid="ignore"):  # weight 0 × -inf, put right below
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
    "logit-average": log_average,
    "probability-average": probability_average,
}
"""Rules without anything learned but temperatures. Logits are log-probabilities plus a term that all classes share,
which no softmax sees, so the average of the ones is the average of the others."""
