"""How right a head is on each row: the F1 of the labels that it gives; with one class a row, 1 right or 0 wrong."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.base import Head
from classifiers.training.rows.rows import LabelledRows, Rows


def known_rows(rows: Rows, split: str, classes: Sequence[str]) -> list[LabelledRows]:
    """Return the rows of a split with at least one of the classes, in parts that are not empty."""
    some = [_with_label(part) for part in rows.parts(split, classes)]
    return [part for part in some if part.ids]


def _with_label(part: LabelledRows) -> LabelledRows:
    known = np.flatnonzero(part.Y.any(axis=1))
    return LabelledRows([part.ids[row] for row in known], part.X[known], part.Y[known])


def f1(head: Head, held: Sequence[LabelledRows], classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the F1 of the labels that a head gives each held-out row, (n,); with one class a row, 1 right or 0 wrong.

    Args:
        classes: the columns of `held`, sorted; those that the head does not know are never given.
    """
    columns = np.searchsorted(np.array(classes), np.array(head.classes))
    found = []
    for part in held:
        scores = head.scores(part.X)
        own = head.labels_of(scores)
        if own is None:
            own = np.eye(len(head.classes), dtype=np.bool_)[scores.argmax(axis=1)]
        truth = part.Y[:, columns]
        found.append(2 * (own & truth).sum(axis=1) / (own.sum(axis=1) + part.Y.sum(axis=1)))
    return np.concatenate(found)


def f1_by_id(rows: Rows, head: Head, split: str) -> dict[str, float]:
    """Return the F1 of each row of a split that has a vector and a class that the head knows, by id."""
    found: dict[str, float] = {}
    for part in map(_with_label, rows.parts(split, head.classes)):  # tokens are read in parts that are not kept
        if part.ids:
            found |= zip(part.ids, f1(head, [part], head.classes).tolist(), strict=True)
    return found
