"""The learning curve of a comparison's winner: what more labels would bring."""

import numpy as np
from numpy.typing import NDArray

from classifiers.compare.held import HeldRows
from classifiers.compare.trial import Trial, learn
from classifiers.errors import NotTrainable
from classifiers.evaluation.learning_curve import LearningCurve
from classifiers.heads.base import Head
from classifiers.training.growth import Part, curve_of, parts

MOST_SECONDS = 10.0
"""Longest time, in seconds, that the winner may take to learn. The curve takes about four times as long."""


def winners_curve(
    trial: Trial, head: Head, rows: HeldRows, held: HeldRows, split: str, classes: tuple[str, ...], seed: int
) -> LearningCurve | None:
    """Return the accuracy on the rows of `split` in `held` by the number of training rows in `rows`.

    The result is None if learning takes longer than `MOST_SECONDS`, or if there are too few rows.

    Args:
        head: head of the trial, which learned from all training rows.
    """

    def measure(part: Part) -> NDArray[np.float64]:
        return right(learn(trial.candidate, rows.only(part), classes)[0], held, split, classes)

    train = rows.matrix("train", classes)
    ids = [train.ids[row] for row in np.flatnonzero(train.codes >= 0)]
    whole = right(head, held, split, classes)
    if trial.seconds > MOST_SECONDS or not len(whole):
        return None
    try:
        return curve_of(whole, ids, parts(rows, ids, seed), measure, seed=seed)
    except NotTrainable:
        return None


def right(head: Head, rows: HeldRows, split: str, classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Return 1 for each row of a split that a head gets right, else 0, (n,). Rows of no class are left out."""
    matrix = rows.matrix(split, classes)
    known = np.flatnonzero(matrix.codes >= 0)
    answers = np.searchsorted(np.array(classes), np.array(head.classes))[head.scores(matrix.X[known]).argmax(axis=1)]
    found: NDArray[np.float64] = (answers == matrix.codes[known]).astype(np.float64)
    return found
