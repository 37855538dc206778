"""The job `mistakes`: labelled assets on which a head that did not learn from them disagrees with the label."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.review.confident import Doubted, Judged, doubted_classes, doubted_labels
from classifiers.training.as_learned import rows_as_learned
from classifiers.training.kinds import KINDS
from classifiers.training.out_of_fold import out_of_fold
from classifiers.training.rows.rows import Texts
from classifiers.training.rows.task_rows import FOLDS
from services.jobs.progress import OnProgress, Step, ignore
from services.jobs.review.lookups import SPLITS, paths_of
from store import Snapshot, Store
from store.join import Positions
from store.matrix import codes_of, indicator_of
from store.rows import Column

FROM_FOLDS, FROM_HEAD = "other folds", "head"
"""The two judges: a head learned from the other folds, for rows that the head learned from, or the head itself."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("split", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("head_labels", pa.list_(pa.string())),
        ("probability", pa.float32()),
        ("self_confidence", pa.float32()),
        ("likely_wrong", pa.bool_()),
        ("judged_by", pa.string()),
    ]
)
"""Columns of the result. `probability` is that of the head's answer (with any number of labels a row: that the label
which the head doubts most is wrong), `self_confidence` that of the label."""


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The rows on which label and head disagree.

    Attributes:
        table: see `SCHEMA`; the most doubtful first.
        task: the task whose labels were judged.
        judged: number of labelled rows that were judged.
        unjudged: labelled rows that were not: without a vector, or of a class that the head does not know, or that the
            head learned from and no head could be learned without.
        removed: rows that the head learned from and that the task no longer labels.
        likely: rows of the table that are likely wrong.
        at_snapshot: False if the versions that the head learned from no longer exist, so that the rows of today were
            used in their place.
    """

    table: pa.Table
    task: str
    judged: int
    unjudged: int
    removed: int
    likely: int
    at_snapshot: bool

    def summary(self) -> dict[str, Any]:
        """Return all but the table; JSON-serialisable."""
        return {
            "task": self.task,
            "judged": self.judged,
            "disagree": self.table.num_rows,
            "likely_wrong": self.likely,
            "not_judged": self.unjudged,
            "removed_since": self.removed,
            "at_snapshot": self.at_snapshot,
        }


class _Said(NamedTuple):
    """The head's labels of some rows, and the two probabilities of `SCHEMA`, each (m,)."""

    labels: list[list[str]]
    probability: NDArray[np.float32]
    own: NDArray[np.float32]


class _Answers(ABC):
    """The judgements of rows, gathered batch by batch. Rows are numbers of labelled rows."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.rows = np.empty(0, np.int64)

    @abstractmethod
    def add(self, rows: NDArray[np.int64], proba: NDArray[np.float32]) -> None:
        """Keep the probabilities (n, K) of rows (n,)."""

    @abstractmethod
    def doubted(self) -> Doubted:
        """Return the places among `rows` of those on which label and head disagree."""

    @abstractmethod
    def said(self, places: NDArray[np.int64]) -> _Said:
        """Return the head's answers at these places."""


class _OneClass(_Answers):
    def __init__(self, classes: Sequence[str], ids: Column, labels: Column, task: str) -> None:
        super().__init__(classes)
        self._codes = codes_of(ids, labels, classes, task)
        self._judged = Judged.of(np.empty((0, len(classes)), np.float32), np.empty(0, np.int64))

    def add(self, rows: NDArray[np.int64], proba: NDArray[np.float32]) -> None:
        known = self._codes[rows] >= 0
        rows, proba = rows[known], proba[known]
        self.rows = np.concatenate([self.rows, rows])
        self._judged = Judged.concatenate([self._judged, Judged.of(proba, self._codes[rows])])

    def doubted(self) -> Doubted:
        return doubted_classes(self._judged, len(self.classes))

    def said(self, places: NDArray[np.int64]) -> _Said:
        some = self._judged.taken(places)
        return _Said([[self.classes[code]] for code in some.top[:, 0].tolist()], some.proba[:, 0], some.own)


class _AnyLabels(_Answers):
    def __init__(self, classes: Sequence[str], ids: Column, labels: Column, task: str) -> None:  # noqa: ARG002
        super().__init__(classes)
        self._truth = indicator_of(labels, classes)
        self._proba = np.empty((0, len(classes)), np.float32)

    def add(self, rows: NDArray[np.int64], proba: NDArray[np.float32]) -> None:
        self.rows = np.concatenate([self.rows, rows])
        self._proba = np.concatenate([self._proba, proba])

    def doubted(self) -> Doubted:
        return doubted_labels(self._proba, self._truth[self.rows])

    def said(self, places: NDArray[np.int64]) -> _Said:
        proba, truth = self._proba[places], self._truth[self.rows[places]]
        own = np.where(truth, proba, 1 - proba).min(axis=1, initial=1)
        labels = [[self.classes[code] for code in np.flatnonzero(row >= 0.5)] for row in proba]
        return _Said(labels, 1 - own, own)


ANSWERS: dict[str, type[_OneClass] | type[_AnyLabels]] = {"one": _OneClass, "any": _AnyLabels}
"""The answers of a kind of head by its number of labels a row."""


def find_mistakes(
    store: Store,
    published: PublishedHead,
    task: str | None = None,
    texts: Texts | None = None,
    on_progress: OnProgress[Step] = ignore,
) -> Mistakes:
    """Return the labelled rows on which a head that did not learn from them disagrees with the label.

    Rows that the head learned from are judged by heads of the same kind and settings that learned from the other
    folds, at the versions of the tables that the head learned from. All other rows are judged by the head itself. The
    labels that are judged are those of today, so a corrected row is not listed again. `classifiers.review.confident`
    has the order.

    Args:
        task: the task whose labels are judged; None for the head's own task.
        texts: function that embeds texts, for kinds of heads that read names of classes.

    Raises UnknownTask, UnknownFeatures, NotOneLabel.
    """
    kind, manifest = KINDS[published.head.kind], published.manifest
    name = task or manifest.task
    now = kind.rows(store, name, published.fingerprints, store.snapshot(), texts=texts)
    current = now.labels.combine_chunks()
    ids, labels = current["id"].combine_chunks(), current["labels"].combine_chunks()
    place = Positions(ids)
    answers = ANSWERS[kind.targets](published.head.classes, ids, labels, name)
    judged_by = np.full(len(ids), FROM_HEAD, object)
    as_learned = rows_as_learned(store, published, texts)
    then = as_learned or now
    learned = then.labelled("train")["id"].combine_chunks() if any(manifest.counts) else pa.array([], pa.string())
    where = place.of(learned)
    judged_by[where[where >= 0]] = FROM_FOLDS
    if len(learned):
        for some, proba in out_of_fold(published, then, lambda done: on_progress(Step(done, FOLDS, "folds judged"))):
            _add(answers, place.of(pa.array(some, pa.string())), proba)
    for split in SPLITS:
        for some, X in kind.batches(now, split, published.head.classes):
            rows = place.of(pa.array(some, pa.string()))
            unseen = judged_by[rows] == FROM_HEAD
            _add(answers, rows[unseen], published.scored(X[unseen]).proba)
    table, likely = _tabulated(store, now.snapshot, current, answers, judged_by)
    return Mistakes(
        table=table,
        task=name,
        judged=len(answers.rows),
        unjudged=len(ids) - len(answers.rows),
        removed=int(np.count_nonzero(where < 0)),
        likely=likely,
        at_snapshot=as_learned is not None,
    )


def _add(answers: _Answers, rows: NDArray[np.int64], proba: NDArray[np.float32]) -> None:
    """Add the rows that have probabilities and are labelled today."""
    good = (rows >= 0) & np.isfinite(proba).all(axis=1)
    answers.add(rows[good], proba[good])


def _tabulated(
    store: Store, snapshot: Snapshot, current: pa.Table, answers: _Answers, judged_by: NDArray[Any]
) -> tuple[pa.Table, int]:
    doubted = answers.doubted()
    rows = answers.rows[doubted.rows]
    said, some = answers.said(doubted.rows), current.take(rows)
    columns = {
        "id": some["id"],
        "path": paths_of(store, some["id"].combine_chunks(), snapshot),
        "split": some["split"],
        "labels": some["labels"],
        "head_labels": pa.array(said.labels, pa.list_(pa.string())),
        "probability": pa.array(said.probability),
        "self_confidence": pa.array(said.own),
        "likely_wrong": pa.array(doubted.likely),
        "judged_by": pa.array(judged_by[rows].tolist(), pa.string()),
    }
    table = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    return table, int(np.count_nonzero(doubted.likely))
