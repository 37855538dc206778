"""Classification by nearest neighbours: how good vectors are before any head is trained on them."""

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
    """Return the class of each row of T (m, D) by its nearest rows of X (n, D) with `codes` (n,): (m,).

    Neighbours are found by cosine, and vote with exp(cos / 0.07). Equal cosines are in the order of X.
    """
    found, rows = np.empty(len(T), np.int64), max(1, CELLS // max(1, len(X)))
    X = unit_rows(X)
    for start in range(0, len(T), rows):
        cosines = unit_rows(T[start : start + rows]) @ X.T
        near = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
        weights = np.exp(np.take_along_axis(cosines, near, axis=1) / TEMPERATURE)
        votes = np.zeros((len(cosines), classes))
        np.add.at(votes, (np.arange(len(cosines))[:, None], codes[near]), weights)
        found[start : start + rows] = votes.argmax(axis=1)
    return found
