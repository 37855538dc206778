"""The job that learns an adapter from stored vectors and writes the adapted form of all of them."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.centres import find_centres, limit_nearest, load_centres
from classifiers.clustering.clusters import Clustering, centred
from classifiers.clustering.kmeans import MOST_PER_CENTRE, adapter_clusters
from classifiers.clustering.unlabelled import Unlabelled
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.published.manifest import package_versions
from classifiers.published.membership import ids_file
from embedder import probe
from embedder.derived.adapter import Adapter
from embedder.derived.stored import StoredAdapter
from services.jobs.derived import Derivation
from services.jobs.progress import OnProgress, Step, ignore
from store import Features, Store

if TYPE_CHECKING:
    from classifiers.fit.discrimination.adapter import Epoch


@dataclass(frozen=True, slots=True)
class Adapted:
    """The result: a derived encoder.

    Attributes:
        name, fingerprint: those of the derived encoder.
        path: the adapter's folder.
        clusters: number of centres.
        learned: number of vectors that the adapter was learned from.
        rows: number of vectors in the derived encoder's table now.
        written: how many of them this job wrote.
        curve: means of each epoch.
        notes: sentences for the user about how the centres were found.
    """

    name: str
    fingerprint: str
    path: Path
    clusters: int
    learned: int
    rows: int
    written: int
    curve: "tuple[Epoch, ...]"
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptRequest:
    """The parameters of the job `adapt`.

    Attributes:
        encoder: name of the encoder whose stored vectors are adapted, the parent of the derived encoder.
        recipe: how the adapter is trained. With too few clusters for `recipe.nearest`, all but one are used.
        clusters: number of clusters to find first; None for `adapter_clusters`.
        clustering: name of a saved clustering whose centres are used; None to find centres.
        rows_of: name of a task; only assets that it labels are learned from. Its labels are not read. None: the assets
            of the saved clustering, or all.
    """

    encoder: str
    recipe: Recipe
    clusters: int | None = None
    clustering: str | None = None
    rows_of: str | None = None


def adapt(
    store: Store, request: AdaptRequest, adapters: Path, clusterings: Path, on_progress: OnProgress[Step] = ignore
) -> Adapted:
    """Train an adapter without labels, save it, and write the adapted form of all stored vectors of the encoder.

    No image is decoded: vectors and probe of the new table are those of the parent, adapted. If the job is killed, run
    it again: it makes the same adapter and writes only the missing vectors.

    Args:
        adapters: folder of adapters; this one becomes ``<adapters>/mlcd-<version>``.
        clusterings: folder of saved clusterings.

    Raises UnknownFeatures, UnknownTask, UnknownClustering, BadClustering, NotTrainable.
    """
    from classifiers.fit.discrimination.adapter import fit_adapter

    rows, made, ids, X = _start(store, request, clusterings, on_progress)
    made, count = limit_nearest(made, request.recipe.nearest, spared=1)  # a row is pushed from at least one centre
    recipe = replace(request.recipe, nearest=count)
    nearest, _ = made.assign(X, count)
    Z = centred(X, made.mean)
    del X
    fitted = fit_adapter(
        Z,
        made.centres,
        nearest,
        recipe,
        lambda done, epoch: on_progress(Step(done, recipe.epochs, f"epochs, loss {epoch.loss:.3f}")),
    )
    adapter = Adapter({"mean": made.mean, **fitted.arrays})
    record = _record(rows, recipe, request.clustering, made, len(ids), fitted.curve)
    stored = StoredAdapter(rows.features.name, rows.features.fingerprint, adapter, record)
    path = stored.save(adapters, {"report.md": to_markdown(stored, adapter).encode(), **ids_file(ids)})
    table, written = _write(store, rows.features, stored, adapter, on_progress)
    store.optimize()
    return Adapted(
        name=stored.name,
        fingerprint=table.fingerprint,
        path=path,
        clusters=len(made),
        learned=len(ids),
        rows=table.rows,
        written=written,
        curve=fitted.curve,
        notes=tuple(made.record["notes"]),
    )


def _start(
    store: Store, request: AdaptRequest, clusterings: Path, on_progress: OnProgress[Step]
) -> tuple[Unlabelled, Clustering, list[str], NDArray[np.float32]]:
    """Return the stored vectors, their centres, and the sample to learn from: ids and raw vectors (m, d)."""
    features, seed = store.features(request.encoder), request.recipe.seed
    if request.clustering is not None:
        made = load_centres(clusterings, request.clustering, features)
        rows = Unlabelled(store, features, store.snapshot(), request.rows_of or made.record["rows_of"])
        return rows, made, *rows.sample(len(made) * MOST_PER_CENTRE, seed)
    rows = Unlabelled(store, features, store.snapshot(), request.rows_of)
    clusters = request.clusters or adapter_clusters(len(rows.ids), request.recipe.nearest)
    return rows, *find_centres(
        rows, clusters, seed, lambda done, total: on_progress(Step(done, total, "iterations of k-means"))
    )


def _record(
    rows: Unlabelled,
    recipe: Recipe,
    clustering: str | None,
    made: Clustering,
    learned: int,
    curve: "tuple[Epoch, ...]",
) -> dict[str, Any]:
    """Return the record for the adapter's manifest: recipe, rows, centres, snapshot and packages."""
    return {
        "recipe": asdict(recipe),
        "rows_of": rows.task,
        "rows": learned,
        "clusters": len(made),
        "clustering": {"name": clustering, **made.record},
        "snapshot": json.loads(rows.snapshot.to_json()),
        "packages": package_versions(("headwater", "numpy", "torch", "faiss-cpu")),
        "curve": [asdict(epoch) for epoch in curve],
    }


def _write(
    store: Store, parent: Features, stored: StoredAdapter, adapter: Adapter, on_progress: OnProgress[Step]
) -> tuple[Features, int]:
    """Write the adapted form of every vector of the parent; return the table, and how many rows were new."""
    reference = adapter.change_probe(parent.probe, probe.assets(parent.spec))
    table = store.ensure_features(stored.name, stored.spec(parent.spec), reference)
    return table, Derivation.of(parent, table, adapter).write(on_progress)


def to_markdown(stored: StoredAdapter, adapter: Adapter) -> str:
    """Return the report: how the adapter was made, and its training curve."""
    record: dict[str, Any] = dict(stored.record)
    recipe = ", ".join(f"{key} = {value}" for key, value in record["recipe"].items())
    lines = [
        f"# Adapter {stored.name}",
        "",
        f"{adapter.input_dim} → {adapter.dim} numbers, learned without labels from {record['rows']:,} "
        f"vectors of {stored.parent} ({stored.fingerprint[:12]}) and {record['clusters']:,} clusters.",
        f"Recipe: {recipe}.",
        "",
        *(f"- {note}" for note in record["clustering"].get("notes", ())),
        "",
        "Mean cosines of rows with their positive centres, which attract them, and with their negative centres:",
        "",
        "| epoch | loss | positive | negative |",
        "|---|---|---|---|",
        *(
            f"| {number} | {epoch['loss']:.4f} | {epoch['positive']:.4f} | {epoch['negative']:.4f} |"
            for number, epoch in enumerate(record["curve"], start=1)
        ),
    ]
    return "\n".join(lines) + "\n"
