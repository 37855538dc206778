"""The job that clusters stored vectors and writes the clusters as pseudo-labels of a task."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from classifiers.clustering.agreement import Truth
from classifiers.clustering.assignment import assign, pseudo_labels, source_of
from classifiers.clustering.browse import Browsing, browse, to_json, to_markdown
from classifiers.clustering.centres import find_centres, limit_nearest
from classifiers.clustering.clusters import Clustering
from classifiers.clustering.kmeans import default_clusters
from classifiers.clustering.unlabelled import SOURCE, Unlabelled
from classifiers.errors import BadClustering, NameTaken, UnknownClustering
from classifiers.names import check_name
from classifiers.published.membership import ids_file
from services.jobs.progress import OnProgress, Step, ignore
from services.jobs.review.lookups import labels_at, paths_of
from store import Label, Store
from store.errors import UnknownTask
from store.rows import strings
from store.schema import now

TELL_EVERY = 1000
"""Labels between two reports of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRequest:
    """The parameters of the job `cluster`.

    Attributes:
        encoder: name of the encoder whose stored vectors are clustered.
        task: name of the pseudo-labels in the store, and of the clustering's folder.
        clusters: number of clusters; None for `default_clusters` of the training rows. Empty clusters and duplicates
            are removed, so the result may have fewer.
        nearest: most labels of an asset: its nearest centres. With fewer clusters, all of them.
        delta: keep only centres whose cosine is at most this much below that of the nearest; None keeps all.
        rows_of: name of a task; only assets that it labels are clustered. Its labels are not read. None: all assets.
        against: name of a task whose labels are compared with the clusters. Nothing is learned from them.
        seed: seed of the random number generator.
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
    """The result: the clustering's folder, and the content of its report."""

    path: Path
    browsing: Browsing


def cluster(store: Store, folder: Path, request: ClusterRequest, on_progress: OnProgress[Step] = ignore) -> Clustered:
    """Find centres, label every vector with its nearest ones in a task of the store, and write a report.

    Pseudo-labels of rows that were not learned from (see `classifiers.clustering.unlabelled`) are in the split test,
    all others in train. If the job is killed, run it again: labels are overwritten, labels of an older clustering of
    that name are removed, and the folder is written last.

    Args:
        folder: folder of all clusterings; this one becomes ``<folder>/<task>``.

    Raises UnknownFeatures, UnknownTask, BadName, BadClustering, BadLabels, NotTrainable.
    """
    name = check_name(request.task, "clustering")
    rows = Unlabelled(store, store.features(request.encoder), store.snapshot(), request.rows_of)
    _require_free(store, folder, name, rows.features.fingerprint)
    truth = Truth.read(store, request.against) if request.against else None
    clusters = request.clusters or default_clusters(len(rows.ids), request.nearest)
    made, sampled, _ = find_centres(
        rows, clusters, request.seed, lambda done, total: on_progress(Step(done, total, "iterations of k-means"))
    )
    made, nearest = limit_nearest(made, request.nearest)
    assigned = assign(
        rows,
        made,
        nearest,
        request.delta,
        lambda done: on_progress(Step(done, len(rows.stored), "rows assigned")),
    )
    browsing = browse(name, made, assigned, lambda ids: _uris(store, ids))
    if truth:
        browsing = replace(browsing, comparison=truth.compare(assigned, len(made)))
    labels = pseudo_labels(name, made, assigned, set(rows.ids))
    at = now()  # new labels and the removal of old ones are one change
    store.labels.put(name, _followed(labels, len(assigned.ids), on_progress), move_splits=True, at=at)
    store.labels.prune(name, source_of(name, made), at=at)
    files = {"report.json": to_json(browsing).encode(), "report.md": to_markdown(browsing).encode()}
    files |= ids_file(sampled)
    path = made.save(folder, name, files)
    store.optimize()
    return Clustered(path, browsing)


def pseudo_labelled(store: Store, task: str) -> pa.Table:
    """Return the labels of a task as a table: id, path, labels, split. Raises UnknownTask."""
    snapshot = store.snapshot()
    rows = labels_at(store, task, snapshot)
    paths = paths_of(store, rows["id"].combine_chunks(), snapshot)
    return rows.add_column(1, "path", pa.chunked_array([paths]) if isinstance(paths, pa.Array) else paths)


def _require_free(store: Store, folder: Path, name: str, fingerprint: str) -> None:
    """Check that `name` is new, or that of an older clustering of the same encoder. Raises NameTaken."""
    try:
        taken = Clustering.load(folder, name).fingerprint != fingerprint
    except (UnknownClustering, BadClustering):  # a damaged clustering is replaced
        taken = False
    try:
        sources = strings(pc.unique(store.labels.get(name)["source"]))
    except UnknownTask:
        sources = []
    if taken or not all(source.startswith(f"{SOURCE}{name} ") for source in sources):
        raise NameTaken(
            f"the name {name!r} is taken by {'a clustering of another encoder' if taken else 'a task of your own'}; "
            "choose another name"
        )


def _uris(store: Store, ids: Sequence[str]) -> Mapping[str, str]:
    return {asset.id: asset.uri for asset in store.assets.get(sorted(store.assets.exists(ids)))}


def _followed(labels: Iterable[Label], total: int, on_progress: OnProgress[Step]) -> Iterator[Label]:
    """Pass the labels on, and report progress once for every `TELL_EVERY` labels."""
    for row, label in enumerate(labels):
        yield label
        if row % TELL_EVERY == 0:
            on_progress(Step(row, total, "rows labelled"))
