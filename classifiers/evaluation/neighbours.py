"""Classification by nearest neighbours: how good vectors are before any head is trained on them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.transform import unit_rows

NEIGHBOURS, TEMPERATURE = 20, 0.07
"""Number of neighbours, and the temperature of their votes exp(cos / temperature): DINO's (arXiv 2104.14294)."""

CELLS = 1 << 24
"""Most cosines in memory at a time: 64 MiB in float32."""


def nearest_class(
    X: NDArray[np.float32], codes: NDArray[np.int64], T: NDArray[np.float32], classes: int
) -> NDArray[np.int64]:
    """Return the class of each row of T (m, D) by its 20 nearest rows of X (n, D) with `codes` (n,): (m,)."""
    return next(nearest_classes(X, codes, T, classes, (NEIGHBOURS,)))


def nearest_classes(
    X: NDArray[Any], codes: NDArray[np.int64], T: NDArray[Any], classes: int, counts: Sequence[int]
) -> Iterator[NDArray[np.int64]]:
    """Yield for each number of neighbours the class of each row of T (m, D) by its nearest rows of X (n, D): (m,).

    Neighbours are found by cosine, and vote with exp(cos / 0.07). Equal cosines are in the order of X.
    """
    near, votes = voters(X, T, max(counts))
    for count in counts:
        table = np.zeros((len(T), classes))
        np.add.at(table, (np.arange(len(T))[:, None], codes[near[:, :count]]), votes[:, :count])
        yield table.argmax(axis=1)


def shares_of_votes(
    X: NDArray[Any], Y: NDArray[np.bool_], T: NDArray[Any], counts: Sequence[int]
) -> Iterator[NDArray[np.float32]]:
    """Yield for each number of neighbours the share of the votes for each label, for each row of T (m, D): (m, L).

    A row of X (n, D) votes for all of its labels Y (n, L), with the weight that it has in `nearest_classes`.
    """
    near, votes = voters(X, T, max(counts))
    for count in counts:
        table = np.zeros((len(T), Y.shape[1]), np.float32)
        for place in range(min(count, near.shape[1])):  # one neighbour of each row at a time, for memory
            table += votes[:, place, None] * Y[near[:, place]]
        yield table / votes[:, :count].sum(axis=1, keepdims=True)


def voters(X: NDArray[Any], T: NDArray[Any], most: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the numbers of the rows of X nearest to each row of T, nearest first, and their votes, both (m, most)."""
    most, size, X = min(most, len(X)), max(1, CELLS // max(1, len(X))), unit_rows(X)
    near, votes = np.empty((len(T), most), np.int64), np.empty((len(T), most), np.float32)
    for start in range(0, len(T), size):
        cosines = unit_rows(T[start : start + size]) @ X.T
        first = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
        near[start : start + size] = first
        votes[start : start + size] = np.exp(np.take_along_axis(cosines, first, axis=1) / TEMPERATURE)
    return near, votes
