"""The labelled vectors of one task at one snapshot, which training and evaluation read."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.transform import Transform
from classifiers.published.manifest import EncoderBlock
from classifiers.training.rows.task_rows import TaskRows
from store import Features, Matrix
from store.selection import BATCH_ROWS

MOST_KEPT = 2**24
"""Maximum size of a held-out fold that is kept in memory, in numbers (rows × columns; 64 MB in float32)."""

RowBatch = tuple[list[str], NDArray[np.float32], NDArray[np.int64]]
"""A batch of rows: ids (n), X (n, d), codes (n,)."""

KnownRows = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Some rows, each of one of the classes that were asked for: X (n, d), codes (n,)."""

Texts = Callable[[str, Sequence[str]], NDArray[np.float32]]
"""(fingerprint of an encoder, n texts) → their vectors (n, d), not normalised, in the space of its images."""


@runtime_checkable
class HasBanks(Protocol):
    """A function like `Texts` that also has the label banks of encoders."""

    def bank(self, fingerprint: str) -> LabelBank | None:
        """Return the label bank of an encoder, by its fingerprint; None if it has none."""


Elsewhere = Callable[["Rows", Sequence[str], Transform, Moment], tuple[GaussianStatistics, list[str]]]
"""(rows, classes, transform, moment) → the statistics of the transformed training rows, and the ids of the rows.

The function lets other processes do the work.
"""


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Some rows with any number of labels: ids (n), X (n, d), and Y bool (n, L), true if a row has a label."""

    ids: list[str]
    X: NDArray[Any]
    Y: NDArray[np.bool_]


@dataclass(frozen=True)
class Rows(TaskRows):
    """The rows of one task with their vectors, at one snapshot.

    Attributes:
        texts: function that embeds texts with an encoder; None if the caller has none.
        share: (first, count) in stored order: the part of the one encoder's vectors that `batches` reads; None for all.
        elsewhere: gathers statistics of the training rows in other processes; None to gather them here.
        units: True if a pass over the training rows also gathers what an outlier detector learns from, see `Learned`.
    """

    texts: Texts | None = None
    share: tuple[int, int] | None = None
    elsewhere: Elsewhere | None = None
    units: bool = False

    @cached_property
    def features(self) -> list[Features]:
        """The encoders' tables of vectors, in order. Raises UnknownFeatures with the names that exist."""
        return [self.store.features(encoder) for encoder in self.encoders]

    def blocks(self) -> tuple[EncoderBlock, ...]:
        """Return each encoder with the columns that it fills."""
        ends = np.cumsum([0, *(math.prod(features.shape) for features in self.features)]).tolist()
        return tuple(
            EncoderBlock(name=features.name, fingerprint=features.fingerprint, columns=(start, end))
            for features, start, end in zip(self.features, ends, ends[1:], strict=False)
        )

    def edges(self) -> tuple[int, ...]:
        """Return the column edges of the encoders' blocks: 0, …, d."""
        return (0, *(block.columns[1] for block in self.blocks()))

    def text_edges(self) -> tuple[int, ...]:
        """Return the column edges of the encoders' text vectors."""
        return (0, *np.cumsum([features.spec.dim for features in self.features]).tolist())

    @property
    def dim(self) -> int:
        """Number of columns d of all encoders together."""
        return self.edges()[-1]

    def require_texts(self) -> Texts:
        """Return the function `texts`. Raises NotTrainable unless it is there and every encoder embeds texts."""
        if blind := [features.name for features in self.features if features.spec.text is None]:
            raise NotTrainable(
                f"encoder {', '.join(blind)} takes no text, so names of classes have no vectors; use one "
                "with a text side, e.g. lite0 or openclip/…, or a kind of head that needs none, e.g. gaussian"
            )
        if self.texts is None:
            raise NotTrainable("this kind of head needs vectors of texts: call train(..., texts=...)")
        return self.texts

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of n texts in the columns of all encoders, not normalised, (n, d). Raises NotTrainable."""
        sides = self.require_texts()
        return np.concatenate([sides(features.fingerprint, texts) for features in self.features], axis=1)

    def label_bank(self) -> LabelBank | None:
        """Return the label bank of the one encoder; None if it has none, or the caller gave none."""
        [features] = self.features
        return self.texts.bank(features.fingerprint) if isinstance(self.texts, HasBanks) else None

    def batches(self, split: str, classes: Sequence[str]) -> Iterable[RowBatch]:
        """Return the rows of a split with one class each, as a stream; code -1 is a class outside `classes`.

        A held-out fold is read once and kept in memory, unless it is large.
        """
        rows = self.labelled(split)
        found = self.store.batches(self.task, batch_rows=BATCH_ROWS, share=self.share, **self._asked(rows, classes))
        if self.fold is None or split != "val" or not self._keeps:
            return found
        known = tuple(classes)
        if known not in self._kept:
            self._kept.clear()
            self._kept[known] = list(found)
        return self._kept[known]

    def training(self, classes: Sequence[str]) -> Iterator[RowBatch]:
        """Yield `batches` of the training rows, and keep those of held-out folds, so that they are not read again."""
        views = [view for view in self.validations() if view is not self and view._keeps]
        parts: list[list[RowBatch]] = [[] for _ in views]
        for ids, X, codes in self.batches("train", classes):
            for view, part in zip(views, parts, strict=True):
                if len(held := np.flatnonzero(view.held_out(ids))):
                    part.append(([ids[row] for row in held.tolist()], X[held], codes[held]))
            yield ids, X, codes
        for view, part in zip(views, parts, strict=True):
            view._kept.clear()
            view._kept[tuple(classes)] = [_joined(part)] if part else []

    @cached_property
    def _keeps(self) -> bool:
        """True if the held-out fold is small enough to be kept."""
        return self.labelled("val").num_rows * self.dim <= MOST_KEPT

    @cached_property
    def _kept(self) -> dict[tuple[str, ...], list[RowBatch]]:
        """The batches of the held-out fold, by the classes that their codes are numbers of."""
        return {}

    def known(self, split: str, classes: Sequence[str]) -> Iterator[KnownRows]:
        """Yield the rows of a split that have one of `classes`, batch by batch, n ≥ 1."""
        for _, X, codes in self.batches(split, classes):
            known = codes >= 0
            if known.any():  # a copy is made only where rows are left out
                yield (X, codes) if known.all() else (X[known], codes[known])

    def first(self, split: str, classes: Sequence[str], most: int) -> KnownRows:
        """Return the first rows of `known` in memory, n ≤ `most`."""
        parts, count = [(np.empty((0, self.dim), np.float32), np.empty(0, np.int64))], 0
        for X, codes in self.known(split, classes):
            parts.append((X, codes))
            count += len(codes)
            if count >= most:
                break
        return np.concatenate([X for X, _ in parts])[:most], np.concatenate([codes for _, codes in parts])[:most]

    def matrix(self, split: str, classes: Sequence[str]) -> Matrix:
        """Return the rows of a split, in memory."""
        return self.store.matrix(self.task, **self._asked(self.labelled(split), classes))

    def parts(self, split: str, classes: Sequence[str]) -> Iterator[LabelledRows]:
        """Yield the rows of a split with any number of labels, in parts; labels outside `classes` are ignored."""
        rows = self.labelled_rows(split, classes)
        for start in range(0, len(rows.ids), BATCH_ROWS):
            some = slice(start, start + BATCH_ROWS)
            yield LabelledRows(rows.ids[some], rows.X[some], rows.Y[some])

    def labelled_rows(self, split: str, classes: Sequence[str]) -> LabelledRows:
        """Return in memory all rows of a split with vectors of all encoders; labels outside `classes` are ignored."""
        matrix = self.matrix(split, classes)
        return LabelledRows(matrix.ids, matrix.X, matrix.indicator)

    def ood(self, classes: Sequence[str]) -> Matrix:
        """Return the out-of-distribution rows (split `ood`), in memory."""
        return self.store.matrix(self.task, **self._asked(self.outside, classes))

    def _asked(self, rows: pa.Table, classes: Sequence[str]) -> dict[str, Any]:
        return {"encoders": self.encoders, "rows": rows, "snapshot": self.snapshot, "classes": classes}


def _joined(batches: Sequence[RowBatch]) -> RowBatch:
    """Return the rows of one or more batches as one batch."""
    ids, X, codes = zip(*batches, strict=True)
    return list(chain.from_iterable(ids)), np.concatenate(X), np.concatenate(codes)
