"""What a network learns from: images, their positives among the centres, and the space of the centres; on disk."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from classifiers.clustering.assignment import assign
from classifiers.clustering.centres import find_centres, limit_nearest, load_centres
from classifiers.clustering.clusters import Clustering, centred
from classifiers.clustering.kmeans import adapter_clusters
from classifiers.clustering.unlabelled import Unlabelled
from classifiers.errors import NotTrainable
from classifiers.fit.discrimination.adapter import principal_axes
from classifiers.fit.discrimination.ranks import Ranks
from classifiers.heads.transform import unit_rows
from embedder import folders
from services.jobs.progress import OnProgress, Step
from services.jobs.tune.recipe import TowerRecipe
from store import Store
from store.rows import strings

_RECORD, _ARRAYS = "plan.json", "plan.safetensors"
_ID_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """The parameters of the job `tune`.

    Attributes:
        encoder: name of the encoder whose network is trained.
        recipe: how it is trained. With too few clusters for `recipe.nearest`, all but one are used.
        clusters: number of clusters to find first; None for `adapter_clusters`.
        clustering: name of a saved clustering whose centres are used; None to find centres.
        rows_of: name of a task; only images that it labels are learned from. Its labels are not read.
        judge: name of a task on whose held-out images nearest neighbours judge the vectors; None for no judgement.
    """

    encoder: str
    recipe: TowerRecipe
    clusters: int | None = None
    clustering: str | None = None
    rows_of: str | None = None
    judge: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The images of a training and their positives.

    Attributes:
        ids: ids of the images, (n,).
        nearest: numbers of each image's nearest centres, nearest first, (n, l).
        mean: mean of the clustering, (d,).
        axes: the first rows of the projection, (D, d); None without one.
        centres: the centres in the space of the embeddings, of length one, (k, D); or the rows that were asked for.
        clusters: k.
        record: how the centres were found, in values that JSON can hold.
    """

    ids: list[str]
    nearest: NDArray[np.int64]
    mean: NDArray[np.float32]
    axes: NDArray[np.float32] | None
    centres: NDArray[np.float32]
    clusters: int
    record: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write the plan into a folder, which appears whole or not at all."""
        arrays = {
            "ids": np.frombuffer(bytes.fromhex("".join(self.ids)), np.uint8).reshape(-1, _ID_BYTES),
            "nearest": self.nearest.astype(np.int32),
            "mean": self.mean,
            "centres": self.centres,
        }
        if self.axes is not None:
            arrays["axes"] = self.axes
        with folders.writing(folder, replace=True) as fresh:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, fresh / _ARRAYS)
            (fresh / _RECORD).write_text(json.dumps(self.record))

    @classmethod
    def load(cls, folder: Path, ranks: Ranks) -> Self:
        """Read what `save` wrote, and of the centres only the share of this process."""
        with safe_open(folder / _ARRAYS, "numpy") as file:
            centres = file.get_slice("centres")
            clusters = centres.get_shape()[0]
            share = ranks.share(clusters)
            return cls(
                [bytes(row).hex() for row in file.get_tensor("ids")],
                file.get_tensor("nearest").astype(np.int64),
                file.get_tensor("mean"),
                file.get_tensor("axes") if "axes" in file.keys() else None,  # noqa: SIM118  # not a dictionary
                centres[share.start : share.stop],
                clusters,
                json.loads((folder / _RECORD).read_text()),
            )


def make_plan(store: Store, request: TuneRequest, clusterings: Path, on_progress: OnProgress[Step]) -> Plan:
    """Find the centres of the stored vectors, and the nearest ones of each image.

    Images that any task has in val, test or ood are not learned from.

    Raises UnknownFeatures, UnknownTask, UnknownClustering, BadClustering, NotTrainable.
    """
    rows, made = _centres(store, request, clusterings, on_progress)
    made, count = limit_nearest(made, request.recipe.nearest, spared=1)
    if count >= len(made):
        raise NotTrainable("one cluster leaves no negative to push an image from; ask for more clusters")
    found = assign(rows, made, count, None, lambda done: on_progress(Step(done, len(rows.stored), "images assigned")))
    images = set(strings(store.assets.ids("image"))) & set(rows.ids)
    kept = np.array([id_ in images for id_ in found.ids], np.bool_)
    order = np.argsort(np.array(found.ids)[kept])  # the order of the stored rows has no influence
    ids, nearest = np.array(found.ids)[kept][order].tolist(), found.codes[kept][order]
    if len(ids) < 2:
        raise NotTrainable(
            f"{len(ids)} images can be learned from, and at least 2 are needed: ingest and embed more images"
        )
    axes = None
    if request.recipe.dim < made.centres.shape[1]:
        _, X = rows.sample(_SAMPLE, request.recipe.seed)
        axes = principal_axes(centred(X, made.mean), request.recipe.dim)
    centres = made.centres if axes is None else unit_rows(made.centres @ axes.T)
    if request.recipe.loss == "single":
        nearest = nearest[:, :1]
    record = {
        "clustering": {"name": request.clustering, **made.record},
        "snapshot": json.loads(rows.snapshot.to_json()),
    }
    return Plan(ids, nearest, made.mean, axes, centres, len(centres), record)


_SAMPLE = 50_000
"""Vectors from which the first axes of the projection are computed."""


def _centres(
    store: Store, request: TuneRequest, clusterings: Path, on_progress: OnProgress[Step]
) -> tuple[Unlabelled, Clustering]:
    """Return the stored vectors of the encoder, and the saved or the new centres."""
    features = store.features(request.encoder)
    if request.clustering is not None:
        made = load_centres(clusterings, request.clustering, features)
        return Unlabelled(store, features, store.snapshot(), request.rows_of or made.record["rows_of"]), made
    rows = Unlabelled(store, features, store.snapshot(), request.rows_of)
    clusters = request.clusters or adapter_clusters(len(rows.ids), request.recipe.nearest)
    made, _, _ = find_centres(
        rows, clusters, request.recipe.seed, lambda done, total: on_progress(Step(done, total, "iterations of k-means"))
    )
    return rows, made
