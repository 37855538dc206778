"""Clustering what is stored: centres from a sample, pseudo-labels for every vector, a report to browse."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.clustering.browse import Browsing, Comparison, agreement, overlap, to_json, to_markdown, typical
from classifiers.clustering.centres import find_centres
from classifiers.clustering.clusters import Clustering
from classifiers.clustering.kmeans import default_clusters
from classifiers.clustering.unlabelled import SOURCE, Unlabelled
from classifiers.errors import BadClustering, UnknownClustering
from classifiers.published.registry import check_name
from store import Label, Store
from store.errors import BadLabels, UnknownTask
from store.matrix import codes_of
from store.rows import strings
from store.tables.labels import classes_of

OnProgress = Callable[[int, int | None, str], None]
"""(done, total, what is being done)"""

EXAMPLES = 9
"""Typical assets of each cluster in the report."""
TELL_EVERY = 1000
"""Labels between two reports of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to cluster, and how.

    Attributes:
        encoder: whose stored vectors.
        task: name of the pseudo-labels in the store, and of the clustering's folder.
        clusters: how many; a fiftieth of the rows that are learned from when None. There may be fewer in the end.
        nearest: centres that an asset gets as labels, at most.
        delta: of these, only those whose cosine is at most so much below that of the nearest; None: all.
        rows_of: a task; only the assets that it labels are clustered. Its labels are not read.
        against: a task whose labels the clusters are compared with. Nothing is learned from them.
        seed: of everything random.
    """

    encoder: str
    task: str
    clusters: int | None = None
    nearest: int = 8
    delta: float | None = None
    rows_of: str | None = None
    against: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Clustered:
    """A clustering in its folder, its pseudo-labels in the store, and what it looks like."""

    path: Path
    browsing: Browsing


@dataclass(frozen=True, slots=True)
class _Assigned:
    """Every vector's nearest centres, nearest first: ids (n), codes and cosines (n, l); the first `kept` (n,) count."""

    ids: list[str]
    codes: NDArray[np.int64]
    cosines: NDArray[np.float32]
    kept: NDArray[np.int64]


def cluster(store: Store, folder: Path, wanted: Wanted, on_progress: OnProgress = lambda *_: None) -> Clustered:
    """Finds centres, gives every vector its nearest ones as labels of a task in the store, and reports.

    Pseudo-labels of rows that were not learned from (see `classifiers.clustering.unlabelled`) are in the split test,
    all others in train. Killed half-way and run again, it ends as if it had not been: labels are overwritten, those of
    an older clustering of that name are removed, and the folder comes last.
    """
    check_name(wanted.task, "clustering")
    rows = Unlabelled(store, store.features(wanted.encoder), store.snapshot(), wanted.rows_of)
    _require_free(store, folder, wanted.task, rows.features.fingerprint)
    truth = _truth(store, wanted.against) if wanted.against else None
    clusters = wanted.clusters or default_clusters(len(rows.ids), wanted.nearest)
    made, _, _ = find_centres(
        rows, clusters, wanted.seed, lambda done, total: on_progress(done, total, "iterations of k-means")
    )
    assigned = _assign(rows, made, wanted.nearest, wanted.delta, on_progress)
    browsing = _browse(store, wanted.task, made, assigned)
    if wanted.against and truth:
        browsing = replace(browsing, comparison=_compare(wanted.against, truth, assigned, len(made)))
    _put_labels(store, wanted.task, made, set(rows.ids), assigned, on_progress)
    files = {"report.json": to_json(browsing).encode(), "report.md": to_markdown(browsing).encode()}
    return Clustered(made.save(folder, wanted.task, files), browsing)


def _require_free(store: Store, folder: Path, name: str, fingerprint: str) -> None:
    """The name may be that of an older clustering of the same encoder, but of nothing else."""
    try:
        taken = Clustering.load(folder, name).fingerprint != fingerprint
    except (UnknownClustering, BadClustering):  # a damaged one is made anew
        taken = False
    try:
        sources = strings(pc.unique(store.labels.get(name)["source"]))
    except UnknownTask:
        sources = []
    if taken or not all(source.startswith(f"{SOURCE}{name} ") for source in sources):
        raise BadClustering(
            f"the name {name!r} is taken by {'a clustering of another encoder' if taken else 'a task of your own'}; "
            "choose another with --task"
        )


def _truth(store: Store, task: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """The class of each asset in train or val, and the classes. Raises UnknownTask, BadLabels.

    Not of those in test: the number of clusters may be chosen by the agreement with these.
    """
    rows = store.labels.get(task)
    rows = rows.filter(pc.is_in(rows["split"], value_set=pa.array(["train", "val"])))
    classes = classes_of(rows)
    codes = codes_of(rows["labels"].combine_chunks(), classes, task).tolist()
    known = {id_: code for id_, code in zip(strings(rows["id"]), codes, strict=True) if code >= 0}
    return known, classes


def _assign(rows: Unlabelled, made: Clustering, count: int, delta: float | None, on_progress: OnProgress) -> _Assigned:
    """In one pass over the store; what is kept of a row are its id and 12 bytes a label."""
    ids: list[str] = []
    codes, cosines = [np.empty((0, count), np.int64)], [np.empty((0, count), np.float32)]
    for some, X in rows.scan():
        near, how_near = made.assign(X, count)
        ids += some
        codes.append(near)
        cosines.append(how_near)
        on_progress(len(ids), len(rows.stored), "rows assigned")
    found = np.concatenate(cosines)
    close = found >= found[:, :1] - (np.inf if delta is None else delta)
    return _Assigned(ids, np.concatenate(codes), found, close.sum(axis=1))


def _browse(store: Store, name: str, made: Clustering, assigned: _Assigned) -> Browsing:
    codes, cosines = assigned.codes[:, 0], assigned.cosines[:, 0]
    found = typical(codes, cosines, len(made), EXAMPLES)
    wanted = sorted({assigned.ids[row] for some in found for row in some})
    uris = {asset.id: asset.uri for asset in store.assets.get(sorted(store.assets.exists(wanted)))}
    examples = [
        [(assigned.ids[row], uris.get(assigned.ids[row], ""), float(cosines[row])) for row in some] for some in found
    ]
    return Browsing(
        name=name,
        encoder=made.encoder,
        record=made.record,
        labels=made.labels,
        codes=assigned.codes,
        cosines=assigned.cosines,
        kept=assigned.kept,
        overlap=overlap(made.centres, assigned.codes, assigned.kept),
        apart=overlap(made.centres, np.arange(len(made))[None], np.array([len(made)])),
        examples=examples,
    )


def _compare(task: str, truth: tuple[dict[str, int], Sequence[str]], assigned: _Assigned, clusters: int) -> Comparison:
    known, classes = truth
    rows = [row for row, id_ in enumerate(assigned.ids) if id_ in known]
    if not rows:
        raise BadLabels(f"no vector that was clustered has a label of task {task!r} in train or val to compare with")
    codes = np.array([known[assigned.ids[row]] for row in rows])
    return Comparison(task, classes, agreement(assigned.codes[rows, 0], codes, clusters, len(classes)))


def _put_labels(
    store: Store, task: str, made: Clustering, learned: set[str], assigned: _Assigned, on_progress: OnProgress
) -> None:
    names, source = made.labels, f"{SOURCE}{task} {made.digest[:12]}"

    def rows() -> Iterator[Label]:
        for row, (id_, count) in enumerate(zip(assigned.ids, assigned.kept.tolist(), strict=True)):
            labels = [names[code] for code in assigned.codes[row, :count].tolist()]
            yield Label(id_, labels, "train" if id_ in learned else "test", source)
            if row % TELL_EVERY == 0:
                on_progress(row, len(assigned.ids), "rows labelled")

    store.labels.put(task, rows(), move_splits=True)
    store.labels.prune(task, source)
