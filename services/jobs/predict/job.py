"""The job `predict`: a head answers for every chosen row, and the answers are written to one file."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifiers.evaluation.conformal import Sets
from classifiers.published.head import PublishedHead
from classifiers.published.many import answer_many
from embedder import cpus
from services.jobs.backfill.local import one_blas_thread
from services.jobs.backfill.prefetch import Bound, map_ahead
from services.jobs.predict.files import FileRows
from services.jobs.predict.journal import Journal, open_journal, pinned
from services.jobs.predict.parts import Part
from services.jobs.predict.stored import StoredRows
from services.jobs.predict.tables import batch_of, classes_of, schema_of, without_folders
from services.jobs.progress import OnProgress, Outcome, ignore
from services.settings import Settings
from store import Snapshot, Store
from store.rows import Column

PART_ROWS = 131072
"""Source rows of a part of the journal. A run that is stopped loses at most these."""


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
class Predicted(Outcome):
    """The result, and the progress on the way.

    Attributes:
        rows: predicted rows.
        source_rows: rows that were read, chosen or not.
        total: rows to read.
        resumed: predictions that an earlier start had made.
        without_vector: chosen assets without the vectors that the head reads.
        with_truth, right: rows whose truth is known, and those whose label is the truth (among the truths).
        too_large: rows whose vectors are too large for the head; they have no label.
    """

    rows: int = 0
    source_rows: int = 0
    total: int | None = None
    resumed: int = 0
    without_vector: int = 0
    with_truth: int = 0
    right: int = 0
    too_large: int = 0

    @property
    def handled(self) -> int:
        return self.source_rows

    @property
    def note(self) -> str:
        return f"{self.rows:,} predicted"


class Rows(Protocol):
    """Rows to predict, in an order that stays the same."""

    def named(self, part: Part) -> tuple[Column, Column]:
        """Return the path of each row, and its labels: list<string>, null where they are unknown."""

    def parts(self, start: int) -> Iterator[Part]:
        """Yield the rows from source row `start` on."""


def predict_stored(
    store: Store, head: PublishedHead, request: PredictRequest, out: Path, on_progress: OnProgress[Predicted] = ignore
) -> Predicted:
    """Predict the stored rows and write them to `out`, which appears when all are done.

    A run that was stopped goes on where it was: the same call reads the same versions of the tables.

    Raises OutputExists, UnknownTask, BadCondition, UnknownFeatures; UnknownCoverage and UnknownSets.
    """
    head.require_answerable(coverage=request.coverage, sets=request.sets)
    identity = {
        "store": store.uri,
        "head": [head.name, head.version],
        "task": request.task,
        "where": request.where,
        **request.written(),
    }
    before = pinned(out)
    again = {name: value for name, value in before.items() if name != "snapshot"} == json.loads(json.dumps(identity))
    snapshot = Snapshot.from_json(before["snapshot"]) if again else store.snapshot()
    rows = StoredRows(store, head, snapshot, request.task, request.where)
    run = identity | {"snapshot": snapshot.to_json()}
    done = write(rows, head, request, out, run, Predicted(total=rows.rows), on_progress)
    done.without_vector = max(0, rows.chosen - done.rows)
    return done


def predict_files(
    sources: Sequence[Path],
    store: Store,
    head: PublishedHead,
    request: PredictRequest,
    out: Path,
    settings: Settings,
    on_progress: OnProgress[Predicted] = ignore,
) -> Predicted:
    """Predict files and write the predictions to `out`. Nothing is stored; files that fail are counted.

    Raises OutputExists, BadSource, NoNetwork, WrongFingerprint, ProbeMismatch, and the errors of loading an encoder.
    """
    head.require_answerable(coverage=request.coverage, sets=request.sets)
    rows = FileRows(sources, head, store, settings)
    run = {"files": rows.identity, "head": [head.name, head.version], **request.written()}
    return write(rows, head, request, out, run, Predicted(total=rows.rows, failures=rows.failures), on_progress)


def write(
    rows: Rows,
    head: PublishedHead,
    request: PredictRequest,
    out: Path,
    run: Mapping[str, Any],
    done: Predicted,
    on_progress: OnProgress[Predicted] = ignore,
) -> Predicted:
    """Predict the rows that an earlier start of the run left, and write all to `out`."""
    start, schema = time.perf_counter(), schema_of(head)
    with open_journal(out, schema, run, overwrite=request.overwrite) as journal:
        for batch in journal.replay():
            _count(done, batch)
        done.resumed, done.source_rows = journal.rows, journal.done
        _predict(rows, head, request, journal, done, on_progress)
    done.seconds = time.perf_counter() - start
    return done


def _predict(
    rows: Rows,
    head: PublishedHead,
    request: PredictRequest,
    journal: Journal,
    done: Predicted,
    on_progress: OnProgress[Predicted],
) -> None:
    threads = cpus.usable()
    answer = partial(_answered, rows, head, request, journal.schema)
    with one_blas_thread(), ThreadPoolExecutor(threads, thread_name_prefix="predict") as pool:
        for batches, source_rows in _grouped(map_ahead(pool, answer, rows.parts(journal.done), Bound(2 * threads))):
            journal.add(batches, source_rows)
            for batch in batches:
                _count(done, batch)
            done.source_rows = journal.done
            on_progress(done)


def _answered(
    rows: Rows, head: PublishedHead, request: PredictRequest, schema: pa.Schema, part: Part
) -> tuple[list[pa.RecordBatch], int]:
    """Return the predictions of a part, and the number of rows of the source that it took."""
    classes, made = classes_of(head), []
    paths, truths = rows.named(part)
    if request.names_only:
        paths = without_folders(paths)
    for answering, which, X in part.steps():
        found, numbers = answer_many(answering, X, **request.answering()), pa.array(which)
        made.append(batch_of(schema, classes, found, *(column.take(numbers) for column in (part.ids, paths, truths))))
    return made, part.source_rows


def _grouped(parts: Iterable[tuple[list[pa.RecordBatch], int]]) -> Iterator[tuple[list[pa.RecordBatch], int]]:
    """Yield the parts joined to `PART_ROWS` rows of the source."""
    batches: list[pa.RecordBatch] = []
    rows = 0
    for some, count in parts:
        batches += some
        rows += count
        if rows >= PART_ROWS:
            yield batches, rows
            batches, rows = [], 0
    if rows:
        yield batches, rows


def _count(done: Predicted, batch: pa.RecordBatch) -> None:
    """Add a batch of predictions to the counts."""
    done.rows += batch.num_rows
    done.too_large += batch["label"].null_count
    truth = batch["truth"]
    done.with_truth += batch.num_rows - truth.null_count
    if pa.types.is_list(truth.type):
        pairs = zip(truth.to_pylist(), batch["labels"].to_pylist(), strict=True)
        done.right += sum(true is not None and set(true) == set(given or ()) for true, given in pairs)
        return
    same: Any = pc.equal(truth, pc.cast(batch["label"], pa.string()))
    done.right += int(np.count_nonzero(pc.fill_null(same, False).to_numpy(zero_copy_only=False)))
