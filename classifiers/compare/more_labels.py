"""The learning curve of a comparison's winner: what more labels would bring."""

import numpy as np
from numpy.typing import NDArray

from classifiers.compare.family import Family
from classifiers.compare.held import HeldRows
from classifiers.compare.trial import Trial
from classifiers.errors import NotTrainable
from classifiers.evaluation.learning_curve import LearningCurve
from classifiers.heads.base import Head
from classifiers.training.growth import curve_of, f1, known_rows, parts

MOST_SECONDS = 10.0
"""Longest time, in seconds, that the winner may take to learn. The curve takes about four times as long."""


def winners_curve(
    trial: Trial,
    head: Head,
    rows: HeldRows,
    held: HeldRows,
    split: str,
    classes: tuple[str, ...],
    seed: int,
    family: Family,
) -> LearningCurve | None:
    """Return the accuracy on the rows of `split` in `held` by the number of training rows in `rows`.

    With any number of labels a row, it is the mean F1 of the rows' labels. The result is None if learning takes
    longer than `MOST_SECONDS`, or if there are too few rows.

    Args:
        head: head of the trial, which learned from all training rows.
    """

    measured = known_rows(held, split, classes)
    if trial.seconds > MOST_SECONDS or not measured:
        return None
    ids = rows.held["train"].ids

    def figures(learned: Head) -> NDArray[np.float64]:
        return f1(learned, measured, classes)  # with one class a row, 1 for a right answer and 0 for a wrong one

    try:
        return curve_of(
            figures(head),
            ids,
            parts(rows, ids, seed),
            lambda part: figures(family.deciding(trial.candidate, rows.only(part), classes)),
            seed=seed,
        )
    except NotTrainable:
        return None
