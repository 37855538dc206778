"""The learning curve of a comparison's winner: what more labels would bring."""

import numpy as np
from numpy.typing import NDArray

from classifiers.compare.held import HeldRows
from classifiers.compare.trial import Trial, learn
from classifiers.errors import NotTrainable
from classifiers.evaluation.learning_curve import LearningCurve
from classifiers.heads.base import Head
from classifiers.training.growth import curve_of, parts
from classifiers.training.rows.row_f1 import f1, known_rows

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

    measured = known_rows(held, split, classes)
    if trial.seconds > MOST_SECONDS or not measured:
        return None
    train = rows.matrix("train", classes)
    ids = [train.ids[row] for row in np.flatnonzero(train.codes >= 0)]

    def figures(learned: Head) -> NDArray[np.float64]:
        return f1(learned, measured, classes)  # with one class a row, 1 for a right answer and 0 for a wrong one

    try:
        return curve_of(
            figures(head),
            ids,
            parts(rows, ids, seed),
            lambda part: figures(learn(trial.candidate, rows.only(part), classes)[0]),
            seed=seed,
        )
    except NotTrainable:
        return None
