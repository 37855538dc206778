"""The worst mistakes of a head on held-out rows, and what a report shows of their assets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from classifiers.compare.held import HeldRows
from classifiers.heads.base import Head, probabilities

MOST_MISTAKES = 24


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row with a wrong answer, which the head gives with this probability.

    Attributes:
        label: the class of the row, or its labels.
        answer: a class or label that the row does not have, or "not" and a label that it has.
    """

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
    """Return the rows of a split that a calibrated head gets wrong, those first of whose wrong answer it is surest.

    Rows without a class or label that the head knows are left out. The result is empty for a split without rows.
    """
    held = rows.labelled_rows(split, head.classes)
    known = np.flatnonzero(held.Y.any(axis=1))
    if not len(known):
        return ()
    scores, truth = head.scores(held.X[known]), held.Y[known]
    proba, given = probabilities(scores, head.link, head.temperature), head.labels_of(scores)
    if given is None:
        given = np.eye(len(head.classes), dtype=np.bool_)[proba.argmax(axis=1)]
        missed = np.zeros_like(given)  # the class that is given instead says it all
    else:
        missed = truth & ~given
    sure = np.where(given & ~truth, proba, np.where(missed, 1 - proba, -1.0))
    worst = sure.argmax(axis=1)
    rank = sure[np.arange(len(known)), worst]
    surest = [row for row in np.argsort(-rank, kind="stable")[:most].tolist() if rank[row] >= 0]
    return tuple(
        Mistake(
            held.ids[known[row]],
            ", ".join(head.classes[k] for k in np.flatnonzero(truth[row])),
            ("not " if missed[row, worst[row]] else "") + head.classes[worst[row]],
            float(rank[row]),
        )
        for row in surest
    )
