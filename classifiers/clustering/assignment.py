"""The nearest centres of every stored vector, and the pseudo-labels that are made from them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.clusters import Clustering
from classifiers.clustering.unlabelled import SOURCE, Unlabelled
from classifiers.fit.device import chosen, using
from store.schema import Label


@dataclass(frozen=True, slots=True)
class Assignment:
    """The nearest centres of every vector, nearest first.

    Attributes:
        ids: asset ids, (n,).
        codes: numbers of the centres, (n, l).
        cosines: cosines with these centres, (n, l).
        kept: how many of its l centres are pseudo-labels of a row, (n,).
    """

    ids: list[str]
    codes: NDArray[np.int64]
    cosines: NDArray[np.float32]
    kept: NDArray[np.int64]


def assign(
    rows: Unlabelled, made: Clustering, count: int, delta: float | None, on_rows: Callable[[int], None]
) -> Assignment:
    """Assign all stored vectors in one pass. Memory for each row: its id, and 12 bytes per centre.

    Args:
        count: l, the number of nearest centres of each row.
        delta: keep only centres whose cosine is at most this much below the largest cosine of the row; None keeps all.
        on_rows: called with the number of rows assigned so far.
    """
    ids: list[str] = []
    codes, cosines = [np.empty((0, count), np.int64)], [np.empty((0, count), np.float32)]
    # One choice for all batches: each batch alone may be too little work for a card.
    with using(chosen(2.0 * len(rows.stored) * made.centres.size)):
        for some, X in rows.scan():
            near, how_near = made.assign(X, count)
            ids += some
            codes.append(near)
            cosines.append(how_near)
            on_rows(len(ids))
    found = np.concatenate(cosines)
    close = found >= found[:, :1] - (np.inf if delta is None else delta)
    return Assignment(ids, np.concatenate(codes), found, close.sum(axis=1))


def source_of(name: str, made: Clustering) -> str:
    """Return the text that names a clustering, saved under `name`, as the source of pseudo-labels."""
    return f"{SOURCE}{name} {made.digest[:12]}"


def pseudo_labels(name: str, made: Clustering, assigned: Assignment, learned: set[str]) -> Iterator[Label]:
    """Yield the kept centres of every row as labels. Rows of `learned` ids get the split train, all others test."""
    names, source = made.labels, source_of(name, made)
    for row, (id_, count) in enumerate(zip(assigned.ids, assigned.kept.tolist(), strict=True)):
        labels = [names[code] for code in assigned.codes[row, :count].tolist()]
        yield Label(id_, labels, "train" if id_ in learned else "test", source)
