"""The worst mistakes of a head on held-out rows, and what a report shows of their assets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from classifiers.compare.held import HeldRows
from classifiers.heads.base import Head, probabilities

MOST_MISTAKES = 24


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row whose label is not the class that the head gives it with this probability."""

    id: str
    label: str
    answer: str
    probability: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What a report shows of an asset: the name of its file, and a small JPEG, empty if there is none."""

    name: str
    jpeg: bytes = b""


Show = Callable[[Sequence[str]], Mapping[str, Shown]]
"""Returns what is shown of assets, by id; assets of which nothing is known are missing."""


def worst_mistakes(rows: HeldRows, head: Head, split: str, most: int = MOST_MISTAKES) -> tuple[Mistake, ...]:
    """Return the rows of a split that a calibrated head gets wrong, those first of whose wrong class it is surest.

    Rows of classes that the head does not know are left out. The result is empty for a split without rows.
    """
    matrix = rows.matrix(split, head.classes)
    known = np.flatnonzero(matrix.codes >= 0)
    if not len(known):
        return ()
    proba = probabilities(head.scores(matrix.X[known]), head.link, head.temperature)
    answers, truth = proba.argmax(axis=1), matrix.codes[known]
    wrong = np.flatnonzero(answers != truth)
    surest = wrong[np.argsort(-proba[wrong, answers[wrong]], kind="stable")][:most]
    return tuple(
        Mistake(
            matrix.ids[known[row]],
            head.classes[truth[row]],
            head.classes[answers[row]],
            float(proba[row, answers[row]]),
        )
        for row in surest.tolist()
    )
