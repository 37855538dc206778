"""The choice among candidates on validation rows, and scores of these rows that are independent of the choice.

Candidates are heads that differ in one parameter. The candidate with the least NLL on the validation rows is chosen, so
it suits these rows better than other rows, and prediction sets calibrated on its scores contain too few true classes.
Therefore each row is scored by the candidate that is best on all other rows (leave-one-out). Prediction sets calibrated
on these scores contain about as many true classes as sets calibrated on other rows. This is a correction, without a
guarantee.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.calibration import fit_temperature, row_nll

MOST_ROWS, MOST_CELLS = 1000, 1_000_000
"""Maximum number of rows, and of their scores (rows × classes), that are scored by leave-one-out. Among more rows, one
row hardly changes the choice: in a simulation, sets calibrated on the best candidate's own scores contained 0.001 too
few of the true classes with 500 rows, and 0.0005 with 1000. The scores are kept in memory, a dozen times 4 MB."""


class Choice(NamedTuple):
    """The result of a choice among candidates.

    Attributes:
        best: number of the candidate with the least NLL; the first of several equal candidates.
        nll: mean NLL of each candidate in nats, at its best temperature.
        left_out: scores (n, K) of each row by the candidate that is best on the other rows, scaled like the best
            candidate's scores, so that one temperature suits all rows. None if these are the best candidate's own
            scores, and for too many rows.
    """

    best: int
    nll: tuple[float, ...]
    left_out: NDArray[np.float32] | None


def choose(candidates: Iterable[NDArray[Any]], codes: NDArray[np.integer[Any]]) -> Choice:
    """Choose the candidate with the least NLL. Each is judged at its best temperature.

    Args:
        candidates: float scores (n, K) of the same rows under each candidate, n ≥ 1; at least one candidate.
        codes: true classes (n,) in 0…K-1.
    """
    kept, temperatures, losses = [], [], []
    for scores in candidates:
        temperatures.append(fit_temperature(scores, codes))
        losses.append(row_nll(scores, codes, temperatures[-1]))
        if len(codes) <= MOST_ROWS and scores.size <= MOST_CELLS:
            kept.append(scores)
    total = np.sum(losses, axis=1)
    best = int(total.argmin())
    without = (total[:, None] - losses).argmin(axis=0)
    changed = np.flatnonzero(without != best)
    left_out = None
    if kept and len(changed):
        left_out = kept[best].astype(np.float32)
        for row, other in zip(changed.tolist(), without[changed].tolist(), strict=True):
            left_out[row] = kept[other][row] * (temperatures[best] / temperatures[other])
    return Choice(best, tuple((total / len(codes)).tolist()), left_out)
