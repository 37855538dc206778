"""Adapters from what is stored: learned from pseudo-labels, saved, and applied to every stored vector at once."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.centres import find_centres, load_centres
from classifiers.clustering.clusters import Clustering, centred
from classifiers.clustering.unlabelled import Unlabelled
from classifiers.fit.discrimination.clustering import MOST_PER_CENTRE, adapter_clusters
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.published.manifest import package_versions
from embedder import probe
from embedder.derived.adapter import Adapter
from embedder.derived.stored import StoredAdapter
from services.jobs.cluster import OnProgress
from services.jobs.derived import fill
from store import Features, Store

if TYPE_CHECKING:
    from classifiers.fit.discrimination.adapter import Epoch


@dataclass(frozen=True, slots=True)
class Adapted:
    """A derived encoder.

    Attributes:
        path: the adapter's folder.
        written: vectors that were new in its table, of `rows` that are there now.
        curve: means of every epoch.
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
class Wanted:
    """What to adapt, and to what.

    Attributes:
        encoder: whose stored vectors; the parent of the derived encoder.
        recipe: how.
        clusters: how many to find first; `adapter_clusters` when None.
        clustering: name of a saved clustering to take the centres of instead; None: find them.
        rows_of: a task; only the assets that it labels are learned from. Its labels are not read. None: as the saved
            clustering was, or all.
    """

    encoder: str
    recipe: Recipe
    clusters: int | None = None
    clustering: str | None = None
    rows_of: str | None = None


def adapt(
    store: Store, wanted: Wanted, adapters: Path, clusterings: Path, on_progress: OnProgress = lambda *_: None
) -> Adapted:
    """Trains an adapter without labels, saves it, and writes the adapted form of all stored vectors of the encoder.

    No image is decoded: the vectors are the parent's, the probe of the new table is that of the parent's, adapted.
    Killed half-way and run again, it makes the same adapter and writes what is missing.

    Args:
        adapters: folder of adapters; this one becomes ``<adapters>/mlcd-<version>``.
        clusterings: folder of what `cluster` made.

    Raises UnknownFeatures, UnknownTask, UnknownClustering, BadClustering, NotTrainable.
    """
    from classifiers.fit.discrimination.adapter import fit_adapter

    recipe = wanted.recipe
    rows, made, ids, X = _start(store, wanted, clusterings, on_progress)
    nearest, _ = made.assign(X, recipe.nearest)
    Z = centred(X, made.mean)
    del X
    fitted = fit_adapter(
        Z,
        made.centres,
        nearest,
        recipe,
        lambda done, epoch: on_progress(done, recipe.epochs, f"epochs, loss {epoch.loss:.3f}"),
    )
    adapter = Adapter({"mean": made.mean, **fitted.arrays})
    record = _record(rows, wanted, made, len(ids), fitted.curve)
    stored = StoredAdapter(rows.features.name, rows.features.fingerprint, adapter, record)
    path = stored.save(adapters, {"report.md": to_markdown(stored, adapter).encode()})
    table, written = _write(store, rows.features, stored, adapter, on_progress)
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
    store: Store, wanted: Wanted, clusterings: Path, on_progress: OnProgress
) -> tuple[Unlabelled, Clustering, list[str], NDArray[np.float32]]:
    """The stored vectors, their centres, and what to learn from: ids, raw vectors (m, d)."""
    features, seed = store.features(wanted.encoder), wanted.recipe.seed
    if wanted.clustering is not None:
        made = load_centres(clusterings, wanted.clustering, features)
        rows = Unlabelled(store, features, store.snapshot(), wanted.rows_of or made.record["rows_of"])
        return rows, made, *rows.sample(len(made) * MOST_PER_CENTRE, seed)
    rows = Unlabelled(store, features, store.snapshot(), wanted.rows_of)
    clusters = wanted.clusters or adapter_clusters(len(rows.ids), wanted.recipe.nearest)
    return rows, *find_centres(
        rows, clusters, seed, lambda done, total: on_progress(done, total, "iterations of k-means")
    )


def _record(
    rows: Unlabelled, wanted: Wanted, made: Clustering, learned: int, curve: "tuple[Epoch, ...]"
) -> dict[str, Any]:
    """How an adapter was made, as its manifest tells it."""
    return {
        "recipe": asdict(wanted.recipe),
        "rows_of": rows.task,
        "rows": learned,
        "clusters": len(made),
        "clustering": {"name": wanted.clustering, **made.record},
        "snapshot": json.loads(rows.snapshot.to_json()),
        "packages": package_versions(("headwater", "numpy", "torch", "faiss-cpu")),
        "curve": [asdict(epoch) for epoch in curve],
    }


def _write(
    store: Store, parent: Features, stored: StoredAdapter, adapter: Adapter, on_progress: OnProgress
) -> tuple[Features, int]:
    """The table of the derived encoder with all that its parent's has, and how many rows were new there."""
    reference = adapter.change_probe(parent.probe, probe.assets(parent.spec))
    table = store.ensure_features(stored.name, stored.spec(parent.spec), reference)
    return table, fill(parent, table, adapter, lambda done, total: on_progress(done, total, "vectors adapted"))


def to_markdown(stored: StoredAdapter, adapter: Adapter) -> str:
    """One page: how the adapter was made, and its training curve."""
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
        "Mean cosines of rows with the centres that pull them and with those that push them:",
        "",
        "| epoch | loss | positive | negative |",
        "|---|---|---|---|",
        *(
            f"| {number} | {epoch['loss']:.4f} | {epoch['positive']:.4f} | {epoch['negative']:.4f} |"
            for number, epoch in enumerate(record["curve"], start=1)
        ),
    ]
    return "\n".join(lines) + "\n"
