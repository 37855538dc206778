"""Answers of a published head for many rows at once, as arrays instead of an object for each row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.conformal import Sets
from classifiers.published.head import PublishedHead


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers for n rows; classes are numbers, their positions in `Head.classes`. See `Answer`.

    Attributes:
        top: the k most probable classes, most probable first, ties by number, (n, k).
        probabilities: their probabilities, (n, k).
        members: classes of all prediction sets, row after row, most probable first; None for a head without sets.
        ends: where the set of each row ends in `members`, (n,).
        given: classes of all rows of a head with any number of labels a row, as `members`; None for other heads.
        given_ends: where the labels of each row end in `given`, (n,).
        percentiles: outlier percentiles, (n,); None for a head without outlier scores.
        finite: False for rows whose vectors are too large for the head, (n,). Their other values mean nothing.
    """

    top: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    members: NDArray[np.int32] | None
    ends: NDArray[np.int64]
    given: NDArray[np.int32] | None
    given_ends: NDArray[np.int64]
    percentiles: NDArray[np.float64] | None
    finite: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Brief:
    """The most important numbers of the answers for n rows. See `Answers`.

    Attributes:
        label: the most probable class, (n,); -1 for a row whose vector is too large for the head.
        probability: its probability, (n,); NaN for such a row.
        margin: see `Head.margins`, (n,); NaN for such a row.
        percentile: outlier percentile, (n,); NaN for such a row, and for a head without outlier scores.
        set_size: number of classes in the prediction set, (n,); 0 for such a row, and for a head without sets.
        given, given_ends: as in `Answers`.
    """

    label: NDArray[np.int32]
    probability: NDArray[np.float32]
    margin: NDArray[np.float32]
    percentile: NDArray[np.float32]
    set_size: NDArray[np.uint16]
    given: NDArray[np.int32] | None
    given_ends: NDArray[np.int64]


def answer_briefly(head: PublishedHead, X: NDArray[np.float32], *, coverage: float = 0.9, sets: Sets = "lac") -> Brief:
    """Return the most important numbers of the answers for the rows of X (n, d).

    Raises BadVectors, UnknownCoverage, UnknownSets.
    """
    head.require_answerable(coverage=coverage, sets=sets)
    scores, proba, percentiles, finite = head.scored(X)
    if not finite.all():
        proba[~finite] = 0
    best = proba.max(axis=1, keepdims=True)
    inside, labels = head.inside(proba, coverage, sets), head.head.labels_of(scores)
    sizes = np.zeros(len(proba), np.int64) if inside is None else (inside | (proba == best)).sum(axis=1)
    found = np.full(len(proba), np.nan) if percentiles is None else percentiles
    none = (None, np.zeros(len(proba), np.int64))
    given, given_ends = none if labels is None else ranked(labels & finite[:, None], proba)
    return Brief(
        np.where(finite, proba.argmax(axis=1), -1).astype(np.int32),
        np.where(finite, best[:, 0], np.nan).astype(np.float32),
        np.where(finite, head.head.margins(proba), np.nan).astype(np.float32),
        np.where(finite, found, np.nan).astype(np.float32),
        np.where(finite, np.minimum(sizes, np.iinfo(np.uint16).max), 0).astype(np.uint16),
        given,
        given_ends,
    )


def answer_many(
    head: PublishedHead, X: NDArray[np.float32], *, top_k: int = 5, coverage: float = 0.9, sets: Sets = "lac"
) -> Answers:
    """Return what `PublishedHead.answer` returns for the rows of X (n, d), several times as fast.

    Raises BadVectors, UnknownCoverage, UnknownSets.
    """
    head.require_answerable(coverage=coverage, sets=sets)
    scores, proba, percentiles, finite = head.scored(X)
    if not finite.all():
        proba[~finite] = 0
    top = most_probable(proba, top_k)
    inside, labels = head.inside(proba, coverage, sets), head.head.labels_of(scores)
    none = np.zeros(len(proba), np.int64)
    members, ends = (None, none)
    if inside is not None:
        best = np.take_along_axis(proba, top[:, :1], axis=1)
        members, ends = ranked(inside | (proba == best), proba)
    given, given_ends = (None, none) if labels is None else ranked(labels, proba)
    values = np.take_along_axis(proba, top, axis=1)
    return Answers(top, values, members, ends, given, given_ends, percentiles, finite)


def most_probable(proba: NDArray[np.float32], k: int) -> NDArray[np.int32]:
    """Return the columns of the `k` largest values of each row, largest first, ties by column, (n, min(k, K)).

    For few columns of many, taking the largest `k` times is faster than sorting each row.
    """
    k = min(k, proba.shape[1])
    top, left, rows = np.empty((len(proba), k), np.int32), proba.copy() if k > 1 else proba, np.arange(len(proba))
    for place in range(k):
        top[:, place] = left.argmax(axis=1)
        if place < k - 1:
            left[rows, top[:, place]] = -1
    return top


def ranked(chosen: NDArray[np.bool_], proba: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the columns chosen in each row (n, K), most probable first, row after row, and where each row ends."""
    rows, columns = np.nonzero(chosen)
    order = np.argsort(rows - 0.5 * proba[rows, columns].astype(np.float64), kind="stable")
    return columns[order].astype(np.int32), np.cumsum(np.bincount(rows, minlength=len(proba)))
