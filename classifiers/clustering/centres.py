"""Cluster centres for stored vectors: learned from a sample, or loaded from a saved clustering."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.clusters import Clustering
from classifiers.clustering.kmeans import FEW_PER_CENTRE, ITERATIONS, MOST_PER_CENTRE, fit_centres
from classifiers.clustering.unlabelled import Unlabelled
from classifiers.errors import BadClustering, NotTrainable
from classifiers.published.manifest import ids_digest

if TYPE_CHECKING:
    from store import Features


def find_centres(
    rows: Unlabelled, clusters: int, seed: int, on_iteration: Callable[[int, int], None]
) -> tuple[Clustering, list[str], NDArray[np.float32]]:
    """Learn centres from a sample of the training rows.

    Args:
        clusters: number of clusters.
        on_iteration: called after each iteration of k-means with (done, total).

    Returns:
        The clustering, the ids of the sample, and their raw vectors (m, d).

    Raises NotTrainable, UnknownTask.
    """
    if clusters > len(rows.ids):
        raise NotTrainable(
            f"{clusters} clusters are more than the {len(rows.ids)} training rows of {rows.features.name!r}; "
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
    """Yield sentences for the user about the rows and the clusters."""
    total, allowed = len(rows.stored), len(rows.ids)
    if rows.task is not None:
        yield f"clustered only the {total:,} stored vectors of assets in task {rows.task}"
    if allowed < total:
        yield f"not learned from {total - allowed:,} of {total:,} rows, which are in val, test or ood of some task"
    if sampled < allowed:
        yield f"learned from {sampled:,} of {allowed:,} rows, drawn at random"
    if sampled < FEW_PER_CENTRE * asked:
        yield f"{sampled / asked:.0f} rows per cluster; with fewer than {FEW_PER_CENTRE} the centres are rough"
    if found < asked:
        yield f"{asked - found} of {asked} clusters were empty or nearly equal to another, and were removed"


def limit_nearest(made: Clustering, asked: int, *, spared: int = 0) -> tuple[Clustering, int]:
    """Return how many nearest centres each row can have, at most `asked`, and `made` with a note if that is fewer.

    Args:
        spared: number of centres that no row may have among its nearest.
    """
    count = max(1, min(asked, len(made) - spared))
    if count == asked:
        return made, asked
    note = f"there are only {len(made)} clusters: the {count} nearest ones count for each row, not {asked}"
    if spared:
        note += f", because each row needs at least {spared} other"
    return replace(made, record={**made.record, "notes": [*made.record["notes"], note]}), count


def load_centres(folder: Path, name: str, features: "Features") -> Clustering:
    """Load a clustering of the vectors of `features`. Raises UnknownClustering, BadClustering for another encoder."""
    found = Clustering.load(folder, name)
    if found.fingerprint != features.fingerprint:
        raise BadClustering(
            f"clustering {name!r} belongs to {found.encoder} ({found.fingerprint[:12]}), not to {features.name} "
            f"({features.fingerprint[:12]}): name one of that encoder, or cluster its vectors"
        )
    return found
