"""Predictions on a Ray cluster: actors read the rows and answer, this process writes the answers in their order."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from classifiers.published.head import PublishedHead
from services.jobs.errors import RayProblem, WorkerFailed
from services.jobs.predict.answers import Answered, Answering, PredictRequest
from services.jobs.predict.files import UNREADABLE
from services.jobs.predict.parts import Rows
from services.jobs.ray.connection import Workers, connected
from services.jobs.ray.predict_worker import Done, Predictor, PublishedFiles, Work
from services.jobs.ray.worker import RETRIES
from services.web.release import own_version

S = TypeVar("S")

AHEAD = 3
"""Shares for each worker that are under way or wait for an earlier share. They bound the memory of this process."""


@contextmanager
def predicting(workers: Workers, folder: Path) -> Iterator[Answering]:
    """Connect to Ray for the block, and yield what answers there, as `services.jobs.predict.answers.local` does here.

    The predictions are those of the local engine, bit for bit and in the same order. A worker that dies is replaced,
    and its share is started again. When this process dies, its workers end too.

    Args:
        folder: version folder of the head. Its files are sent to the workers.

    Raises:
        RayProblem: there is no cluster, it has no room for a worker, or it broke down.
        WorkerFailed: a worker gave up. The message has its reason: no store or no file at that path, another version
            of Headwater, an encoder that does not give the stored vectors, or a share that killed every worker.
        BadArtifact: the files of the head cannot be read.
    """
    files = PublishedFiles.read(folder)
    with connected(workers) as count:

        def answering(
            rows: Rows[S],
            head: PublishedHead,  # noqa: ARG001 - the workers load it from its files
            request: PredictRequest,
            start: int,
        ) -> Generator[Answered]:
            work = Work(rows.opener, files, request, workers.cpus, own_version())
            for done in results(rows.shares(start), work, workers, count):
                if done.problem:
                    raise WorkerFailed(done.problem)
                require_reachable(done)
                yield from done.answers()

        yield answering


def results(shares: Iterable[S], work: Work, workers: Workers, count: int) -> Iterator[Done]:
    """Yield the result of each share, in order. Raises RayProblem, WorkerFailed."""
    import ray
    from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

    left = iter(shares)
    first = list(islice(left, count))
    sized: Any = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus, max_restarts=-1, max_task_retries=RETRIES)(
        Predictor
    )
    shared = ray.put(work)
    actors = [sized.remote(shared) for _ in first]
    try:
        yield from _in_order(chain(first, left), actors)
    except RayTaskError:
        raise  # a bug of this program; the error has the worker's traceback
    except (ActorDiedError, ActorUnavailableError) as error:
        raise WorkerFailed(
            f"the worker of some rows was lost, and up to {RETRIES} more tries did not help ({_reason(error)}); its "
            "node may be gone or have too little memory, or one file kills the process that decodes it; finished parts "
            "stay: run the same command again"
        ) from error
    except RayError as error:
        raise RayProblem(
            f"the Ray cluster stopped the job: {_reason(error)}; finished parts stay: run the same command again"
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


def _in_order(shares: Iterable[S], actors: list[Any]) -> Iterator[Done]:
    """Give each share to a worker that is idle, and yield the results in the order of the shares.

    A worker has one share at a time, so a share that kills its worker takes no other share with it.
    """
    import ray

    running = {actor.ready.remote(): actor for actor in actors}
    idle: deque[Any] = deque()
    waiting: deque[Any] = deque()
    for share in shares:
        while not idle:
            (finished, *_), _ = ray.wait(list(running))
            idle.append(running.pop(finished))
        actor = idle.popleft()
        waiting.append(actor.answer.remote(share))
        running[waiting[-1]] = actor
        while waiting and (waiting[0] not in running or len(waiting) >= AHEAD * len(actors)):
            yield ray.get(waiting.popleft())
    while waiting:
        yield ray.get(waiting.popleft())


def require_reachable(done: Done) -> None:
    """Raise WorkerFailed if a worker could not read a file that this process can read."""
    for failed in (each for _, _, some in done.parts for each in some if each.reason == UNREADABLE):
        if os.path.isfile(failed.key) and os.access(failed.key, os.R_OK):
            raise WorkerFailed(
                f"the worker on {done.host} cannot read {failed.key}, which can be read here ({failed.message}); every "
                "node of the cluster must reach the files under the same paths"
            )


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
