"""What runs in every actor of a distributed backfill: one encoder, the store, chunks of ids in, fragments out."""

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
from embedder.errors import WeightsError
from embedder.media import Limits
from embedder.spec import Modality
from services.jobs.backfill.run import one_blas_thread
from services.jobs.backfill.stages import Job
from services.web.errors import ERRORS
from store import Features, Quarantined, Store
from store.errors import StoreError
from store.lance import fragments

EXPECTED: tuple[type[Exception], ...] = (*ERRORS, WeightsError, OSError)
"""Errors that a user can mend; others are faults of ours and come with their traceback."""

RETRIES = 3
"""How often a chunk is begun again when its worker dies: one that kills every worker must end the job."""

Load = Callable[[int], Encoder]
"""Makes the encoder, with an engine of so many threads. Sent to the workers, so it must be picklable."""


def loader(name: str, **loading: Any) -> Load:
    """`embedder.registry.load` of that name, for workers."""
    return partial(_load, name, loading)


def _load(name: str, loading: dict[str, Any], threads: int) -> Encoder:
    return registry.load(name, threads=threads, **loading)


@dataclass(frozen=True, slots=True)
class Work:
    """What is the same for all chunks."""

    store: str
    load: Load
    tokens: bool
    batch: int
    threads: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one chunk: its rows lie in fragments that are not committed yet.

    Attributes:
        ids: of the rows.
        fragments: that hold them, of each table: tokens where they were asked for (none of sounds), then vectors.
        failed: the items for quarantine.
        problem: why nothing of this was done, else empty.
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
    """Counts how often each chunk was begun. One actor a job, because the workers that count do not live to tell."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, first: str) -> int:
        """Of the chunk that begins with this id."""
        self._begun[first] += 1
        return self._begun[first]


class Worker:
    """Called by Ray Data with a chunk a call. The encoder is loaded, and its probe checked, at the first.

    Bytes are read from the store and rows are written to it here: only ids and the names of fragments travel.
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
            chunk = job.whole(decoders, modality, ids)
        if not chunk.ids:
            return Done(failed=chunk.failed)
        written = [_write(job.features, chunk.ids, chunk.vectors())]
        if job.tokens is not None:
            tokens = chunk.tokens()
            written.insert(0, [] if tokens is None else _write(job.tokens, chunk.ids, tokens))
        return Done(chunk.ids, written, chunk.failed)

    def _open(self) -> Job:
        work = self._work
        store = Store.open(work.store)
        if not store.database.exists():
            raise StoreError(
                f"no store at {work.store}; it must lie where every node of the cluster reaches it under this name"
            )
        encoder = work.load(work.threads)
        features = store.features(encoder.spec.fingerprint)
        probe.check(encoder, features.probe)
        tokens = store.tokens(encoder.spec.fingerprint) if work.tokens else None
        return Job(store, encoder, features, tokens, batch=work.batch, limits=work.limits)


def _killed(ids: list[str], times: int) -> str:
    return (
        f"a chunk of {len(ids)} assets, the first {ids[0]}, ended its worker {times} times; look for too little memory "
        "on the nodes, or for an asset that kills the process that decodes it; what is committed stays"
    )


def _write(features: Features, ids: list[str], rows: NDArray[Any]) -> list[str]:
    return fragments.write(features.table, features.arrow(ids, rows))
