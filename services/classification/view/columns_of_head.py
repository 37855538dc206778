"""The columns of a head's answers for all stored assets, from stored vectors."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.published.many import Brief, answer_briefly
from embedder import cpus
from services.classification.view.columns import AssetColumns, in_rows
from services.jobs.backfill.prefetch import Bound, map_ahead
from services.jobs.predict.parts import Part
from services.jobs.predict.vectors import HeadVectors
from store import Snapshot, Store
from store.errors import UnknownFeatures

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HeadColumns:
    """A head's answer for each stored asset, all (n,); see `Brief`. Assets without the vectors it reads have none.

    Attributes:
        label: int32, a position in the head's classes; -1 without an answer.
        probability, margin, outlier: float32; NaN without an answer, and `outlier` for a head without outlier scores.
        set_size: uint16; 0 without an answer, and for a head without prediction sets.
        ends, flat: labels of each row of a head with any number of labels, as in `LabelColumns`; None for others.
    """

    label: NDArray[np.int32]
    probability: NDArray[np.float32]
    margin: NDArray[np.float32]
    outlier: NDArray[np.float32]
    set_size: NDArray[np.uint16]
    ends: NDArray[np.uint32] | None
    flat: NDArray[np.int32] | None

    @classmethod
    def none(cls, rows: int, head: PublishedHead) -> Self:
        """Return the columns of assets that a head has not answered."""
        nan, zeros = np.full(rows, np.nan, np.float32), np.zeros(rows, np.uint32)
        several = (zeros, np.zeros(0, np.int32)) if head.head.link == "sigmoid" else (None, None)
        return cls(np.full(rows, -1, np.int32), nan, nan.copy(), nan.copy(), zeros.astype(np.uint16), *several)

    def named(self, codes: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        """Return the columns by name, with the code of each of the head's classes (K,)."""
        coded = np.append(codes, np.int32(-1))
        found: dict[str, NDArray[Any]] = {
            "prediction": coded[self.label],
            "probability": self.probability,
            "margin": self.margin,
            "outlier": self.outlier,
            "set_size": self.set_size,
        }
        if self.ends is not None and self.flat is not None:
            found |= {"predictions_end": self.ends, "predictions_flat": coded[self.flat]}
        return found

    @property
    def nbytes(self) -> int:
        arrays = (self.label, self.probability, self.margin, self.outlier, self.set_size, self.ends, self.flat)
        return sum(each.nbytes for each in arrays if each is not None)


def answer_assets(store: Store, snapshot: Snapshot, head: PublishedHead, assets: AssetColumns) -> HeadColumns:
    """Return the answers of a head for all stored assets that have the vectors it reads."""
    made = HeadColumns.none(len(assets), head)
    lists: list[tuple[Places, NDArray[np.int64], NDArray[np.int32]]] = []
    for where, brief in _answered(store, snapshot, head, assets):
        made.label[where], made.probability[where], made.margin[where] = brief.label, brief.probability, brief.margin
        made.outlier[where], made.set_size[where] = brief.percentile, brief.set_size
        if brief.given is not None:
            lists.append((where, np.diff(brief.given_ends, prepend=0), brief.given))
    if made.ends is None or not lists:
        return made
    ends, flat = in_rows(len(assets), *(np.concatenate(each) for each in zip(*lists, strict=True)))
    return replace(made, ends=ends, flat=flat)


def _answered(
    store: Store, snapshot: Snapshot, head: PublishedHead, assets: AssetColumns
) -> Iterator[tuple[Places, Brief]]:
    """Yield rows of `assets` with their answers."""
    try:
        vectors = HeadVectors(store, head, snapshot)
    except UnknownFeatures:  # no vector of its encoders is stored yet
        return
    threads = cpus.usable()

    def answer(part: Part) -> list[tuple[Places, Brief]]:
        places = assets.positions.of(part.ids)
        return [(places[rows], answer_briefly(answering, X)) for answering, rows, X in part.steps()]

    with ThreadPoolExecutor(threads, thread_name_prefix="view-head") as pool:
        for some in map_ahead(pool, answer, vectors.parts(0, assets.positions), Bound(2 * threads)):
            yield from some
