"""Backfill on a Ray cluster: actors embed chunks and write fragments, this process plans and commits them."""

import time
from collections.abc import Iterator, Sequence

import pyarrow as pa

from embedder.encoder import Encoder, Pace
from embedder.media import DEFAULT_LIMITS, Limits
from embedder.spec import Modality
from services.jobs.backfill.local import ensure_features
from services.jobs.backfill.plan import Progress, plan
from services.jobs.backfill.stages import CHUNK_ROWS, settle
from services.jobs.errors import RayProblem, WorkerFailed
from services.jobs.progress import OnProgress, ignore
from services.jobs.ray.connection import Workers, connected, quiet
from services.jobs.ray.worker import Attempts, Done, Load, Work, Worker
from store import Store, stage_of
from store.lance.fragments import Appender


def backfill(
    store: Store,
    encoder: Encoder,
    load: Load,
    workers: Workers,
    *,
    tokens: bool = False,
    retry_quarantined: bool = False,
    batch: int = 0,
    commit_rows: int = CHUNK_ROWS,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress[Progress] = ignore,
) -> Progress:
    """Embed every missing asset, as `services.jobs.backfill.local.backfill` does, with the same rows bit for bit.

    A worker that dies is replaced, and its chunk is started again. When this process dies, its workers end too;
    committed rows stay, and the next run continues from them.

    Args:
        encoder: its spec and, for a new table, its reference vectors are used; it embeds nothing in this process.
        load: loads the same encoder in every worker.
        workers: the cluster, and the number and size of its workers.
        batch: assets in one call of the encoder; 0 for as many as keep it busy.
        commit_rows: rows of a commit, rounded up to whole batches. A worker holds so many embeddings in memory.

    Raises:
        RayProblem: there is no cluster, it has no room for a worker, or it broke down.
        WorkerFailed: a worker gave up. The message has its reason: no store at that path, other weights, vectors that
            are not finite, or a chunk that killed every worker that tried it.
        NoRoom: the disk of a local store is too full for the result. No row was written.
    """
    work = Work(store.uri, load, tokens, batch, workers.cpus, limits, store.assets.max_file_bytes)
    with connected(workers) as count:
        planned = plan(
            store,
            encoder,
            ensure_features(store, encoder),
            on_progress,
            tokens=tokens,
            retry_quarantined=retry_quarantined,
        )
        missing, progress, start = planned.missing, planned.progress, time.perf_counter()
        ids = [id_ for some in missing.values() for id_ in some]
        appenders = [Appender(table.table, ids) for table in planned.tables]
        rows = batch or Pace().rows
        chunks = [(modality, some) for modality in missing for some in cut(missing[modality], rows, commit_rows)]
        for done in embedded(chunks, work, workers, count):
            for appender, fragments in zip(appenders, done.fragments, strict=bool(done.ids)):
                if fragments:
                    appender.append(done.ids, fragments)
            settle(store, stage_of(encoder.spec.fingerprint), done.ids, done.failed)
            progress.done += len(done.ids)
            progress.failures.add(done.failed)
            progress.seconds = time.perf_counter() - start
            on_progress(progress)
    store.optimize()
    return progress


def cut(ids: Sequence[str], batch: int, rows: int) -> list[Sequence[str]]:
    """Cut `ids` into chunks of at least `rows`, each of whole batches except the last.

    The batches are then the same as in one process: with other batches, some engines give other last bits.
    """
    step = -(-rows // batch) * batch
    return [ids[start : start + step] for start in range(0, len(ids), step)]


def embedded(
    chunks: Sequence[tuple[Modality, Sequence[str]]], work: Work, workers: Workers, count: int
) -> Iterator[Done]:
    """Yield the result of each chunk as workers finish. Raises RayProblem, WorkerFailed."""
    import ray
    import ray.data
    from ray.exceptions import RayError, UserCodeException

    if not chunks:
        return
    quiet()
    attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()
    plan = ray.data.from_arrow(
        [pa.table({"modality": [modality], "ids": pa.array([ids], pa.list_(pa.string()))}) for modality, ids in chunks]
    )
    found = plan.map_batches(
        Worker,
        fn_constructor_args=(work, attempts),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    try:
        for row in found.iter_rows():
            done = Done.from_json(row["done"])
            if done.problem:
                raise WorkerFailed(done.problem)
            yield done
    except UserCodeException:
        raise  # a bug of this program; the error has the worker's traceback
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise RayProblem(
            f"the Ray cluster stopped the job: {reason}; committed rows stay: run the backfill again"
        ) from error
