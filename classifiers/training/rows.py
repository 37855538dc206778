"""The labelled vectors of one task at one snapshot, as training and evaluation read them."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.heads.base import Head
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform
from classifiers.published.manifest import EncoderBlock

if TYPE_CHECKING:  # a store is handed in; importing this module does not bring LanceDB along
    from store import Features, Matrix, Snapshot, Store

RowBatch = tuple[list[str], NDArray[np.float32], NDArray[np.int64]]
"""Ids (n), X (n, d), codes (n,)."""

Texts = Callable[[str, Sequence[str]], NDArray[np.float32]]
"""(fingerprint of an encoder, n texts) → their vectors (n, d) in the space of its images, raw."""

Elsewhere = Callable[["Rows", Sequence[str], Transform, Moment], tuple[GaussianStatistics, list[str]]]
"""(rows, classes, transform, moment) → the statistics of the training rows, transformed, and their ids."""

BATCH_ROWS = 16384

FOLDS = 5
LEAST_CROSSED, MOST_CROSSED, ENOUGH = 20, 20_000, 10_000
"""With fewer training rows than the first none can be spared; with more than the second, one fold of about the third
is validation enough."""


@dataclass(frozen=True)
class Rows:
    """One task's rows with their vectors, pinned.

    Attributes:
        encoders: names or fingerprints, as the store takes.
        fold: None; or (i, n): fold i of n of the training rows is held out, and plays the split `val`.
        known: `labels`, where they have been read already.
        texts: the encoders' text sides; None where nobody brought them along.
        share: of the vectors of the one encoder, (first, count) in stored order, that `batches` reads; None for all.
        elsewhere: gathers statistics of the training rows, where other processes are to do that.
    """

    store: "Store"
    task: str
    encoders: tuple[str, ...]
    snapshot: "Snapshot"
    fold: tuple[int, int] | None = None
    known: pa.Table | None = field(default=None, repr=False, compare=False)
    texts: Texts | None = None
    share: tuple[int, int] | None = None
    elsewhere: "Elsewhere | None" = None

    @cached_property
    def features(self) -> "list[Features]":
        """The encoders' tables, in order. Raises UnknownFeatures with the names that exist."""
        return [self.store.features(encoder) for encoder in self.encoders]

    def blocks(self) -> tuple[EncoderBlock, ...]:
        """Which columns each encoder fills."""
        ends = np.cumsum([0, *(math.prod(features.shape) for features in self.features)]).tolist()
        return tuple(
            EncoderBlock(name=features.name, fingerprint=features.fingerprint, columns=(start, end))
            for features, start, end in zip(self.features, ends, ends[1:], strict=False)
        )

    def edges(self) -> tuple[int, ...]:
        """Column edges of the encoders' blocks: 0, …, d."""
        return (0, *(block.columns[1] for block in self.blocks()))

    @property
    def dim(self) -> int:
        return self.edges()[-1]

    @cached_property
    def labels(self) -> pa.Table:
        """The task's labels but those of the split `ood`. Raises UnknownTask with the tasks that exist."""
        if self.known is not None:
            return self.known
        labels = self.store.labels
        table = labels.get(self.task, version=self.snapshot.of(labels.table)).select(["id", "labels", "split"])
        return table.filter(pc.not_equal(table["split"], pa.scalar("ood")))

    def labelled(self, split: str) -> pa.Table:
        """The rows of `labels` in a split, with a fold held out of `train` as `val`."""
        if self.fold is None or split not in ("train", "val"):
            return self.labels.filter(pc.equal(self.labels["split"], pa.scalar(split)))
        training, held = self._folded
        return training.filter(pa.array(held == (split == "val")))

    @cached_property
    def _folded(self) -> tuple[pa.Table, NDArray[np.bool_]]:
        """All training rows, and which of them are held out, (n,)."""
        number, count = self.fold or (0, 1)
        training = replace(self, fold=None, known=self.labels).labelled("train")
        ids: Any = training["id"].to_pylist()
        return training, fold_of(ids, count) == number

    def require_one_label(self) -> None:
        """Raises NotTrainable for rows with several labels or none."""
        sizes = pc.list_value_length(self.labels["labels"]).to_numpy()
        wrong = int(np.count_nonzero(sizes != 1))
        if wrong:
            raise NotTrainable(
                f"task {self.task!r} has {wrong} of {len(sizes)} rows with several labels or none; "
                "this kind of head gives exactly one; take one for any number: labelwise, bilinear or decoder"
            )

    def require_texts(self) -> Texts:
        """The encoders' text sides. Raises NotTrainable unless every encoder has one, and they are at hand."""
        blind = [features.name for features in self.features if features.spec.text is None]
        if blind:
            raise NotTrainable(
                f"encoder {', '.join(blind)} takes no text, so it gives no vector for the name of a class; use one "
                "with a text side, e.g. lite0 or openclip/…, or a kind of head that needs none, e.g. gaussian"
            )
        if self.texts is None:
            raise NotTrainable("this kind of head needs vectors of texts: call train(..., texts=...)")
        return self.texts

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of n texts in every encoder's columns, raw, (n, d). Raises NotTrainable."""
        sides = self.require_texts()
        return np.concatenate([sides(features.fingerprint, texts) for features in self.features], axis=1)

    def names(self) -> tuple[str, ...]:
        """All labels of the task, whatever their split but `ood`, sorted. Raises UnknownTask, NotTrainable."""
        self.require_one_label()
        return tuple(sorted(map(str, pc.unique(pc.list_flatten(self.labels["labels"])).to_pylist())))

    def classes(self) -> tuple[str, ...]:
        """The labels of the training rows, sorted.

        Raises:
            UnknownTask: of the store, with the tasks that exist.
            NotTrainable: rows with several labels or none, no training rows, or a single class.
        """
        self.require_one_label()
        training = self.labelled("train")
        names = {str(label) for label in pc.unique(pc.list_flatten(training["labels"])).to_pylist()}
        if len(names) < 2:
            raise NotTrainable(
                f"task {self.task!r} has {training.num_rows} training rows of {len(names)} class(es) "
                f"{sorted(names)}; a head needs rows of at least 2 classes in the split 'train'"
            )
        return tuple(sorted(names))

    def validations(self) -> list[Self]:
        """Rows whose split `val` a choice can be made on: these, where the task has validation rows.

        Otherwise the training rows, once a fold, each time with that fold held out; none where they are too few.
        """
        return [self] if self.labelled("val").num_rows else self._crossed

    @cached_property
    def _crossed(self) -> list[Self]:
        training = self.labelled("train").num_rows
        if training < LEAST_CROSSED:
            return []
        count, used = (training // ENOUGH, 1) if training > MOST_CROSSED else (FOLDS, FOLDS)
        return [replace(self, fold=(i, count), known=self.labels) for i in range(used)]

    def batches(self, split: str, classes: Sequence[str]) -> Iterable[RowBatch]:
        """The rows of a split, streamed: (ids, X, codes), with code -1 for labels outside `classes`."""
        return self.store.batches(self.task, batch_rows=BATCH_ROWS, share=self.share, **self._asked(split, classes))

    def matrix(self, split: str, classes: Sequence[str]) -> "Matrix":
        """The rows of a split, in memory."""
        return self.store.matrix(self.task, **self._asked(split, classes))

    def strangers(self, classes: Sequence[str]) -> "Matrix":
        """The rows of the split `ood`, which no head is to know, in memory."""
        return self.store.matrix(self.task, self.encoders, splits=("ood",), snapshot=self.snapshot, classes=classes)

    def _asked(self, split: str, classes: Sequence[str]) -> dict[str, Any]:
        rows = self.labelled(split)
        return {"encoders": self.encoders, "rows": rows, "snapshot": self.snapshot, "classes": classes}


def fold_of(ids: Sequence[str], count: int = FOLDS) -> NDArray[np.int64]:
    """The fold of each row, (n,) in 0…count-1: by a checksum of its id, so the same on every machine."""
    return np.fromiter((crc32(id_.encode()) for id_ in ids), np.int64, len(ids)) % count


def ids_digest(ids: Iterable[str]) -> str:
    """sha256 over the sorted ids, each followed by a newline: the same rows, the same digest, in any order."""
    return hashlib.sha256("\n".join([*sorted(ids), ""]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Scored:
    """The rows of one batch under a head: scores (n, K), codes (n,)."""

    scores: NDArray[np.float32]
    codes: NDArray[np.int64]

    def aligned(self, own: Sequence[str], wanted: Sequence[str]) -> "Scored":
        """The same rows with a column for every class of `wanted`: -inf for those that `own`, their head's, lacks.

        Both sorted; `wanted` holds all of `own`.
        """
        columns = np.searchsorted(np.array(wanted), np.array(own))
        scores = np.full((len(self.scores), len(wanted)), -np.inf, np.float32)
        scores[:, columns] = self.scores
        return Scored(scores, columns[self.codes])


def scored(rows: Rows, head: Head, split: str) -> Iterator[Scored]:
    """Scores a split batch by batch; rows whose label the head does not know are left out."""
    for _, X, codes in rows.batches(split, head.classes):
        known = codes >= 0
        if known.any():
            yield Scored(head.scores(X[known]), codes[known])
