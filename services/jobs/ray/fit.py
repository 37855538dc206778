"""Statistics of a Gaussian head, gathered by many workers: the statistics of shares of the rows add up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

from classifiers.fit.gaussian.parallel import Batch, gather
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform
from classifiers.training.rows.rows import Elsewhere, Rows
from services.jobs.errors import RayProblem
from services.jobs.ray.connection import Workers, connected
from store import Snapshot, Store
from store.lance.fragments import shares
from store.selection import BATCH_ROWS

SHARES = 4
"""Shares for each worker: with several, a slow worker does not hold up the others."""


@dataclass(frozen=True, slots=True)
class ShareArguments:
    """The arguments that all shares have in common."""

    store: str
    task: str
    encoders: tuple[str, ...]
    snapshot: str
    classes: tuple[str, ...]
    transform: Transform
    moment: Moment


@contextmanager
def statistics(workers: Workers) -> Iterator[Elsewhere]:
    """Yield the argument `elsewhere` of `classifiers.training.pipeline.train`. Raises RayProblem."""
    with connected(workers) as count:

        def elsewhere(
            rows: Rows, classes: Sequence[str], transform: Transform, moment: Moment
        ) -> tuple[GaussianStatistics, list[str]]:
            arguments = ShareArguments(
                rows.store.uri, rows.task, rows.encoders, rows.snapshot.to_json(), tuple(classes), transform, moment
            )
            table = rows.features[0].table
            parts = shares(table, rows.snapshot.of(table), SHARES * count, BATCH_ROWS)
            return _merged(arguments, parts, workers)

        yield elsewhere


def of_share(arguments: ShareArguments, share: tuple[int, int]) -> tuple[GaussianStatistics, list[str]]:
    """Return the statistics of the training rows in one share of the vectors, and their ids. Runs in a worker."""
    store = Store.open(arguments.store, must_exist=True)
    rows = Rows(store, arguments.task, arguments.encoders, Snapshot.from_json(arguments.snapshot), share=share)
    ids: list[str] = []

    def batches() -> Iterator[Batch]:
        for some, X, codes in rows.batches("train", arguments.classes):
            ids.extend(some)
            yield Batch(X, codes)

    return gather(batches(), len(arguments.classes), arguments.transform, arguments.moment), ids


def _merged(
    arguments: ShareArguments, parts: list[tuple[int, int]], workers: Workers
) -> tuple[GaussianStatistics, list[str]]:
    """Merge the statistics in the order of the shares, so that the same rows always give the same head."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    run: Any = ray.remote(num_cpus=workers.cpus)(of_share)
    shared = ray.put(arguments)
    try:
        found = ray.get([run.remote(shared, part) for part in parts])
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise RayProblem(f"the Ray cluster stopped the job: {str(error).strip().splitlines()[-1]}") from error
    empty = GaussianStatistics.empty(len(arguments.classes), arguments.transform.width, arguments.moment)
    merged = reduce(GaussianStatistics.merge, (each for each, _ in found), empty)
    return merged, [id_ for _, ids in found for id_ in ids]
