"""Centres of what is stored: learned from a sample of the vectors, or taken from a clustering that was saved."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.clusters import Clustering
from classifiers.clustering.kmeans import FEW_PER_CENTRE, ITERATIONS, MOST_PER_CENTRE, fit_centres
from classifiers.clustering.unlabelled import Unlabelled
from classifiers.errors import BadClustering, NotTrainable
from classifiers.training.rows import ids_digest

if TYPE_CHECKING:
    from store import Features


def find_centres(
    rows: Unlabelled, clusters: int, seed: int, on_iteration: Callable[[int, int], None]
) -> tuple[Clustering, list[str], NDArray[np.float32]]:
    """Centres from a sample of what may be learned from: (clustering, sampled ids, their raw vectors (m, d)).

    Raises NotTrainable, UnknownTask.
    """
    if clusters > len(rows.ids):
        raise NotTrainable(
            f"{clusters} clusters asked of {len(rows.ids)} rows of {rows.features.name!r} that may be learned from; "
            f"ask for 2 to {len(rows.ids)}"
        )
    ids, X = rows.sample(clusters * MOST_PER_CENTRE, seed)
    mean, centres = fit_centres(X, clusters, seed=seed, on_iteration=on_iteration)
    record = {
        "rows_of": rows.task,
        "seed": seed,
        "asked": clusters,
        "iterations": ITERATIONS,
        "rows": len(ids),
        "ids": ids_digest(ids),
        "notes": list(_notes(rows, len(ids), clusters, len(centres))),
    }
    return Clustering(rows.features.name, rows.features.fingerprint, mean, centres, record), ids, X


def _notes(rows: Unlabelled, sampled: int, asked: int, found: int) -> Iterator[str]:
    """What a reader of the clusters must know."""
    total, allowed = len(rows.stored), len(rows.ids)
    if rows.task is not None:
        yield f"only of the {total:,} stored vectors of assets in task {rows.task}"
    if allowed < total:
        yield f"not learned from {total - allowed:,} of {total:,} rows, which are in val, test or ood of some task"
    if sampled < allowed:
        yield f"learned from {sampled:,} of {allowed:,} rows, drawn at random"
    if sampled < FEW_PER_CENTRE * asked:
        yield f"{sampled / asked:.0f} rows a cluster: fewer than {FEW_PER_CENTRE} make rough centres"
    if found < asked:
        yield f"{asked - found} of {asked} clusters were empty or like another and are gone"


def load_centres(folder: Path, name: str, features: "Features") -> Clustering:
    """A saved clustering of the vectors of `features`. Raises UnknownClustering, BadClustering for another encoder."""
    found = Clustering.load(folder, name)
    if found.fingerprint != features.fingerprint:
        raise BadClustering(
            f"clustering {name!r} is of {found.encoder} ({found.fingerprint[:12]}), not of {features.name} "
            f"({features.fingerprint[:12]}): name one of that encoder, or cluster its vectors"
        )
    return found
