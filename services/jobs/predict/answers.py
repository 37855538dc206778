"""The answers of a head for parts of the rows, as record batches. Threads and Ray workers make them in the same way."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from classifiers.evaluation.conformal import Sets
from classifiers.published.head import PublishedHead
from classifiers.published.many import answer_many
from embedder import cpus
from services.jobs.backfill.local import one_blas_thread
from services.jobs.backfill.prefetch import Bound, map_ahead
from services.jobs.predict.parts import Part, Rows
from services.jobs.predict.tables import batch_of, classes_of, schema_of, without_folders
from store import Quarantined

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictRequest:
    """The parameters of a run.

    Attributes:
        task, where: see `StoredRows`.
        top_k: classes in the ranking of each row.
        coverage, sets: the prediction sets, see `PublishedHead.answer`.
        overwrite: replace an existing file.
        names_only: write the name of a file on this machine, not its folder.
    """

    task: str | None = None
    where: str | None = None
    top_k: int = 5
    coverage: float = 0.9
    sets: Sets = "lac"
    overwrite: bool = False
    names_only: bool = False

    def answering(self) -> dict[str, Any]:
        """Return the arguments of `answer_many`."""
        return {"top_k": self.top_k, "coverage": self.coverage, "sets": self.sets}

    def written(self) -> dict[str, Any]:
        """Return everything that changes what is written."""
        return self.answering() | ({"names_only": True} if self.names_only else {})


@dataclass(slots=True)
class Answered:
    """The predictions of one part.

    Attributes:
        batches: see `schema_of`.
        source_rows: number of rows of the source that the part took.
        failed: files of the part that could not be read or embedded.
    """

    batches: list[pa.RecordBatch]
    source_rows: int
    failed: list[Quarantined] = field(default_factory=list)


class Answering(Protocol):
    """Answers the rows of a source from row `start` on, and yields the parts in the order of the source."""

    def __call__(
        self, rows: Rows[S], head: PublishedHead, request: PredictRequest, start: int
    ) -> Generator[Answered]: ...


Engine = Callable[[], AbstractContextManager[Answering]]
"""Starts the place where heads answer. The rows are opened inside the block."""


def local() -> AbstractContextManager[Answering]:
    """The engine that answers on all CPUs of this process."""

    def answering(rows: Rows[S], head: PublishedHead, request: PredictRequest, start: int) -> Generator[Answered]:
        return in_threads(rows, rows.parts(start), head, request, cpus.usable())

    return nullcontext(answering)


def in_threads(
    rows: Rows[S], parts: Iterable[Part], head: PublishedHead, request: PredictRequest, threads: int
) -> Generator[Answered]:
    """Yield the predictions of each part, in order."""
    answer = partial(answered, rows, head, request, schema_of(head))
    with one_blas_thread(), ThreadPoolExecutor(threads, thread_name_prefix="predict") as pool:
        yield from map_ahead(pool, answer, parts, Bound(2 * threads))


def answered(rows: Rows[S], head: PublishedHead, request: PredictRequest, schema: pa.Schema, part: Part) -> Answered:
    """Return the predictions of one part."""
    classes, made = classes_of(head), []
    paths, truths = rows.named(part)
    if request.names_only:
        paths = without_folders(paths)
    for answering, which, X in part.steps():
        found, numbers = answer_many(answering, X, **request.answering()), pa.array(which)
        made.append(batch_of(schema, classes, found, *(column.take(numbers) for column in (part.ids, paths, truths))))
    return Answered(made, part.source_rows, part.failed)
