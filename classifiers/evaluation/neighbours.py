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
    most, size, X = min(max(counts), len(X)), max(1, CELLS // max(1, len(X))), unit_rows(X)
    near, votes = np.empty((len(T), most), np.int64), np.empty((len(T), most), np.float32)
    for start in range(0, len(T), size):
        cosines = unit_rows(T[start : start + size]) @ X.T
        first = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
        near[start : start + size] = first
        votes[start : start + size] = np.exp(np.take_along_axis(cosines, first, axis=1) / TEMPERATURE)
    for count in counts:
        table = np.zeros((len(T), classes))
        np.add.at(table, (np.arange(len(T))[:, None], codes[near[:, :count]]), votes[:, :count])
        yield table.argmax(axis=1)
