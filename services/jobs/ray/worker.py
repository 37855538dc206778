"""The worker of a distributed backfill, one in every actor: it takes chunks of ids and returns fragments."""

import json
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Self

import pyarrow as pa
from numpy.typing import NDArray

from embedder import probe, registry
from embedder.encoder import Encoder
from embedder.media import Limits
from embedder.spec import Modality
from services.jobs.backfill.local import one_blas_thread
from services.jobs.backfill.stages import Job
from services.jobs.errors import EXPECTED
from store import Features, Quarantined, Store
from store.errors import NoStore, StoreError
from store.files import MAX_BYTES
from store.lance import fragments

RETRIES = 3
"""Restarts of a chunk whose worker died. A chunk that kills every worker must end the job."""

Load = Callable[[int], Encoder]
"""Loads the encoder with an engine of so many threads. It is sent to the workers, so it must be picklable."""


def loader(name: str, **loading: Any) -> Load:
    """Return a function for workers that loads the encoder `name` with the options of `embedder.registry.load`."""
    return partial(_load, name, loading)


def _load(name: str, loading: dict[str, Any], threads: int) -> Encoder:
    return registry.load(name, threads=threads, **loading)


@dataclass(frozen=True, slots=True)
class Work:
    """The arguments that all chunks have in common."""

    store: str
    load: Load
    tokens: bool
    batch: int
    threads: int
    limits: Limits
    max_file_bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True)
class Done:
    """The result of one chunk. Its rows are in fragments that are not committed yet.

    Attributes:
        ids: assets that were embedded.
        fragments: names of the fragments with their rows, a list for each table: first tokens if the job stores them
            (an empty list for modalities without tokens), then vectors.
        failed: items for quarantine.
        problem: why the chunk was not embedded; empty if it was.
    """

    ids: list[str] = field(default_factory=list)
    fragments: list[list[str]] = field(default_factory=list)
    failed: list[Quarantined] = field(default_factory=list)
    problem: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(**fields | {"failed": [Quarantined(**each) for each in fields["failed"]]})


class Attempts:
    """Counts the attempts at each chunk. It runs in an actor of its own, because a worker's count would die with it."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, first_id: str) -> int:
        """Return the number of attempts made so far for the chunk that starts with `first_id`, this one included."""
        self._begun[first_id] += 1
        return self._begun[first_id]


class Worker:
    """Ray Data calls this object once for each chunk. The first call loads the encoder and checks its probe.

    The worker reads from the store and writes to it: only ids and the names of fragments travel over the network.
    """

    def __init__(self, work: Work, attempts: Any) -> None:
        self._work, self._attempts = work, attempts
        self._job: Job | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        import ray

        modality: Modality = batch["modality"][0].as_py()
        ids: list[str] = batch["ids"][0].values.to_pylist()
        begun = ray.get(self._attempts.begin.remote(ids[0]))
        try:
            done = self._embed(modality, ids) if begun <= 1 + RETRIES else Done(problem=_killed(ids, begun - 1))
        except EXPECTED as error:
            done = Done(problem=f"{error} (worker on {socket.gethostname()})")
        return pa.table({"done": [done.to_json()]})

    def _embed(self, modality: Modality, ids: list[str]) -> Done:
        job = self._job = self._job or self._open()
        with ThreadPoolExecutor(self._work.threads, thread_name_prefix="decode") as decoders, one_blas_thread():
            chunk = job.one_chunk(decoders, modality, ids)
        if not chunk.ids:
            return Done(failed=chunk.failed)
        written = [_write(job.features, chunk.ids, chunk.vectors())]
        if job.tokens is not None:
            tokens = chunk.tokens()
            written.insert(0, [] if tokens is None else _write(job.tokens, chunk.ids, tokens))
        return Done(chunk.ids, written, chunk.failed)

    def _open(self) -> Job:
        work = self._work
        try:
            store = Store.open(work.store, must_exist=True, max_file_bytes=work.max_file_bytes)
        except NoStore as error:
            raise unreachable(error) from error
        encoder = work.load(work.threads)
        features = store.features(encoder.spec.fingerprint)
        probe.check(encoder, features.probe)
        tokens = store.tokens(encoder.spec.fingerprint) if work.tokens else None
        return Job(store, encoder, features, tokens, batch=work.batch, limits=work.limits)


def unreachable(error: NoStore) -> StoreError:
    """Return the error of a worker that finds no store where this process has one."""
    return StoreError(
        f"no store at {error.uri} on {socket.gethostname()}; every node of the cluster must reach the store under this "
        "path or URI"
    )


def _killed(ids: list[str], times: int) -> str:
    return (
        f"a chunk of {len(ids)} assets, the first {ids[0]}, killed its worker {times} times; the nodes may have too "
        "little memory, or one asset kills the process that decodes it; committed rows stay"
    )


def _write(features: Features, ids: list[str], rows: NDArray[Any]) -> list[str]:
    return fragments.write(features.table, features.arrow(ids, rows))
