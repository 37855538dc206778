"""The job `suggest`: which of the unlabelled assets to label next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.heads.transform import unit_blocks
from classifiers.published.head import PublishedHead
from classifiers.review import near
from classifiers.review.suggest import label_uncertainty, suggested, uncertainty
from services.jobs.errors import AllLabelled, NothingToReview
from services.jobs.predict.stored import chosen_assets
from services.jobs.progress import OnProgress, Step, ignore
from services.jobs.review.lookups import paths_of
from store import Features, Snapshot, Store
from store.errors import UnknownTask
from store.join import Positions
from store.rows import Column, strings

CANDIDATE_BYTES = 192 << 20
"""Bytes of candidates' vectors that are looked at: 50,000 vectors of 960 numbers. More are drawn at random."""

MOST_CANDIDATES = 50_000
MOST_LABELLED = 10_000
"""Maximum numbers of candidates and of labelled rows that are looked at; more are drawn at random."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("head_labels", pa.list_(pa.string())),
        ("probability", pa.float32()),
        ("uncertainty", pa.float32()),
        ("typicality", pa.float32()),
    ]
)
"""Columns of the result, the most useful asset first. The head's answer is null without a head."""


@dataclass(frozen=True, slots=True)
class Suggestions:
    """The assets to label next.

    Attributes:
        task: the task that lacks their labels.
        table: see `SCHEMA`.
        unlabelled: number of assets with vectors and without a label in the task.
        looked_at: number of these that were looked at.
        labelled: number of labelled assets with vectors that were looked at.
    """

    task: str
    table: pa.Table
    unlabelled: int
    looked_at: int
    labelled: int

    def summary(self) -> dict[str, Any]:
        """Return all but the table; JSON-serialisable."""
        return {
            "task": self.task,
            "suggested": self.table.num_rows,
            "unlabelled": self.unlabelled,
            "looked_at": self.looked_at,
            "labelled": self.labelled,
        }


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The arguments of `suggest_for_head` that choose assets."""

    task: str
    count: int
    where: str | None
    seed: int


@dataclass(frozen=True, slots=True)
class _Weighed:
    """The head's view of n candidates: their weights (n,), labels, and the probability of the first label (n,)."""

    uncertain: NDArray[np.float32]
    labels: list[list[str]] | None = None
    probability: NDArray[np.float32] | None = None

    def columns(self, rows: NDArray[np.int64]) -> dict[str, Column]:
        """Return the columns of `SCHEMA` that a head fills, for some of the candidates; nulls without a head."""
        names = ("head_labels", "probability", "uncertainty")
        if self.labels is None or self.probability is None:
            return {name: pa.nulls(len(rows), SCHEMA.field(name).type) for name in names}
        labels = pa.array([self.labels[row] for row in rows.tolist()], pa.list_(pa.string()))
        return dict(zip(names, (labels, pa.array(self.probability[rows]), pa.array(self.uncertain[rows])), strict=True))


def suggest_for_head(
    store: Store,
    published: PublishedHead,
    count: int,
    task: str | None = None,
    where: str | None = None,
    seed: int = 0,
    on_progress: OnProgress[Step] = ignore,
) -> Suggestions:
    """Return assets that the head is uncertain about, typical and far apart, see `classifiers.review.suggest`.

    Args:
        task: the task that lacks labels; None for the head's own.
        where: SQL condition on the columns of assets, for the candidates; None for all.
        seed: seed of k-means, and of the choice of candidates that are looked at.

    Raises UnknownFeatures, BadCondition, NothingToReview, AllLabelled.
    """
    name = task or published.manifest.task
    tables = [
        store.tokens(each.fingerprint) if each.tokens else store.features(each.fingerprint) for each in published.inputs
    ]

    def weigh(X: NDArray[np.float32]) -> _Weighed:
        return _weighed(published, X, on_progress)

    return _suggest(store, tables, _Wanted(name, count, where, seed), weigh, on_progress)


def suggest_first(
    store: Store,
    encoder: str,
    task: str,
    count: int,
    where: str | None = None,
    seed: int = 0,
    on_progress: OnProgress[Step] = ignore,
) -> Suggestions:
    """Return assets that are typical and far apart, for a task with no head yet, or no label.

    The arguments are those of `suggest_for_head`. Raises BadCondition, UnknownFeatures, NothingToReview, AllLabelled.
    """
    return _suggest(store, [store.features(encoder)], _Wanted(task, count, where, seed), _alike, on_progress)


def _alike(X: NDArray[np.float32]) -> _Weighed:
    return _Weighed(np.ones(len(X), np.float32))


def _weighed(published: PublishedHead, X: NDArray[np.float32], on_progress: OnProgress[Step]) -> _Weighed:
    """Return the head's answers for vectors X (n, d), batch by batch."""
    measure = uncertainty if published.head.link == "softmax" else label_uncertainty
    classes = published.head.classes
    uncertain, best = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    labels: list[list[str]] = []
    for start in range(0, len(X), near.BLOCK):
        scored = published.scored(X[start : start + near.BLOCK])
        proba = np.where(scored.finite[:, None], scored.proba, 0)
        uncertain.append(np.where(scored.finite, measure(proba), 0).astype(np.float32))
        best.append(proba.max(axis=1))
        given = published.head.labels_of(scored.scores)
        chosen = proba == proba.max(axis=1, keepdims=True) if given is None else given
        most = 1 if given is None else len(classes)
        labels += [[classes[code] for code in np.flatnonzero(row)[:most].tolist()] for row in chosen]
        on_progress(Step(min(start + near.BLOCK, len(X)), len(X), "candidates weighed"))
    return _Weighed(np.concatenate(uncertain), labels, np.concatenate(best))


def _suggest(
    store: Store,
    tables: list[Features],
    wanted: _Wanted,
    weigh: Callable[[NDArray[np.float32]], _Weighed],
    on_progress: OnProgress[Step],
) -> Suggestions:
    task, count, seed = wanted.task, wanted.count, wanted.seed
    snapshot = store.snapshot()
    known = _labelled(store, task, snapshot)
    common = _common(tables, snapshot)
    has_label = Positions(known).of(common) >= 0
    free, used = common.filter(pa.array(~has_label)), common.filter(pa.array(has_label))
    if (satisfying := chosen_assets(store, snapshot, None, wanted.where)) is not None:
        free = free.filter(pc.is_in(free, value_set=satisfying))
    width = sum(int(np.prod(table.shape)) for table in tables)
    most = max(count, min(MOST_CANDIDATES, CANDIDATE_BYTES // (4 * width)))
    ids, X = _vectors(tables, snapshot, free, most, seed)
    _, L = _vectors(tables, snapshot, used, min(most, MOST_LABELLED), seed)
    if not len(ids):
        raise AllLabelled(task, len(common), wanted.where) if len(common) else NothingToReview(tables[0].name, None, 0)
    edges = (0, *np.cumsum([int(np.prod(table.shape)) for table in tables]).tolist())
    weighed = weigh(X)
    Z, labelled = (np.asarray(unit_blocks(each, edges) / len(tables) ** 0.5, np.float32) for each in (X, L))
    on_progress(Step(0, count, "rows chosen"))
    threshold = near.proposed_threshold(near.neighbours(Z, near.sample_of(len(Z)), near.RANK)) if len(Z) > 1 else 1.0
    chosen, dense = suggested(Z, labelled, weighed.uncertain, count, threshold, seed=seed)
    on_progress(Step(count, count, "rows chosen"))
    some = pa.array([ids[row] for row in chosen.tolist()], pa.string())
    columns = {"id": some, "path": paths_of(store, some, snapshot), "typicality": pa.array(dense[chosen])}
    columns |= weighed.columns(chosen)
    table = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    return Suggestions(task, table, len(free), len(ids), len(L))


def _labelled(store: Store, task: str, snapshot: Snapshot) -> Column:
    """Return the ids that the task labels, in any split; empty for a task without a label."""
    try:
        return store.labels.get(task, version=snapshot.of(store.labels.table))["id"].combine_chunks()
    except UnknownTask:
        return pa.array([], pa.string())


def _common(tables: list[Features], snapshot: Snapshot) -> Column:
    """Return the ids that have a row in every table, in the order of the first."""
    first, *others = (table.ids(version=snapshot.of(table.table)) for table in tables)
    found: Column = first.combine_chunks()
    for other in others:
        found = found.filter(pa.array(Positions(other.combine_chunks()).of(found) >= 0))
    return found


def _vectors(
    tables: list[Features], snapshot: Snapshot, ids: Column, most: int, seed: int
) -> tuple[list[str], NDArray[np.float32]]:
    """Return at most `most` of `ids`, drawn at random, and their vectors of all tables side by side, (n, d)."""
    chosen = ids.take(pa.array(near.sample_of(len(ids), seed, most)))
    blocks = list(_blocks(tables, snapshot, chosen))
    return strings(chosen), np.concatenate(blocks, axis=1)


def _blocks(tables: list[Features], snapshot: Snapshot, ids: Column) -> Iterator[NDArray[np.float32]]:
    place = Positions(ids)
    for table in tables:
        block = np.empty((len(ids), int(np.prod(table.shape))), np.float32)
        for some, X in table.scan(version=snapshot.of(table.table)):
            where = place.of(some)
            block[where[where >= 0]] = X[where >= 0].reshape(-1, block.shape[1])
        yield block
