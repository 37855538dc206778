"""The job `predict`: a head answers for every chosen row, and the answers are written to one file."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifiers.published.head import PublishedHead
from services.jobs.out_file import require_free
from services.jobs.predict.answers import Answered, Answering, Engine, PredictRequest, local
from services.jobs.predict.files import FileRows
from services.jobs.predict.journal import Journal, open_journal, pinned
from services.jobs.predict.parts import Rows
from services.jobs.predict.stored import StoredRows
from services.jobs.predict.tables import schema_of
from services.jobs.progress import OnProgress, Outcome, ignore
from services.settings import Settings
from store import Snapshot, Store
from store.sources import Sources

S = TypeVar("S")


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


def predict_stored(
    store: Store,
    head: PublishedHead,
    request: PredictRequest,
    out: Path,
    on_progress: OnProgress[Predicted] = ignore,
    engine: Engine = local,
) -> Predicted:
    """Predict the stored rows and write them to `out`, which appears when all are done.

    A run that was stopped goes on where it was: the same call reads the same versions of the tables. It may go on with
    another engine.

    Raises OutputExists, UnknownTask, BadCondition, UnknownFeatures; UnknownCoverage and UnknownSets; the engine's
    errors.
    """
    head.require_answerable(coverage=request.coverage, sets=request.sets)
    require_free(out, overwrite=request.overwrite)
    identity = {
        "store": store.uri,
        "head": [head.name, head.version],
        "task": request.task,
        "where": request.where,
        **request.written(),
    }
    with engine() as answering:
        before = pinned(out)
        again = {name: value for name, value in before.items() if name != "snapshot"} == json.loads(
            json.dumps(identity)
        )
        snapshot = Snapshot.from_json(before["snapshot"]) if again else store.snapshot()
        rows = StoredRows(store, head, snapshot, request.task, request.where)
        run = identity | {"snapshot": snapshot.to_json()}
        done = write(rows, head, request, out, run, Predicted(total=rows.rows), on_progress, answering)
    done.without_vector = max(0, rows.chosen - done.rows)
    return done


def predict_files(
    sources: Sources,
    store: Store,
    head: PublishedHead,
    request: PredictRequest,
    out: Path,
    settings: Settings,
    on_progress: OnProgress[Predicted] = ignore,
    engine: Engine = local,
) -> Predicted:
    """Predict the files of some sources and write the predictions to `out`. Nothing is stored; failures are counted.

    Raises OutputExists, BadSource, NoNetwork, WrongFingerprint, ProbeMismatch, the errors of loading an encoder, and
    the engine's errors.
    """
    head.require_answerable(coverage=request.coverage, sets=request.sets)
    require_free(out, overwrite=request.overwrite)
    with engine() as answering:
        rows = FileRows(sources, head, store, settings.loading, settings.limits)
        run = {"files": rows.identity, "head": [head.name, head.version], **request.written()}
        return write(rows, head, request, out, run, Predicted(total=rows.rows), on_progress, answering)


def write(
    rows: Rows[S],
    head: PublishedHead,
    request: PredictRequest,
    out: Path,
    run: Mapping[str, Any],
    done: Predicted,
    on_progress: OnProgress[Predicted],
    answering: Answering,
) -> Predicted:
    """Predict the rows that an earlier start of the run left, and write all to `out`."""
    start = time.perf_counter()
    with open_journal(out, schema_of(head), run, overwrite=request.overwrite) as journal:
        for batch in journal.replay():
            _count(done, batch)
        done.failures.add(journal.failed)
        done.resumed, done.source_rows = journal.rows, journal.done
        with closing(answering(rows, head, request, journal.done)) as parts:
            for part in _grouped(parts, rows.part_rows):
                _add(part, journal, done)
                on_progress(done)
    done.seconds = time.perf_counter() - start
    return done


def _add(part: Answered, journal: Journal, done: Predicted) -> None:
    journal.add(part)
    for batch in part.batches:
        _count(done, batch)
    done.failures.add(part.failed)
    done.source_rows = journal.done


def _grouped(parts: Iterable[Answered], least: int) -> Iterator[Answered]:
    """Yield the parts joined to at least so many rows of the source."""
    joined = Answered([], 0)
    for part in parts:
        joined.batches.extend(part.batches)
        joined.failed.extend(part.failed)
        joined.source_rows += part.source_rows
        if joined.source_rows >= least:
            yield joined
            joined = Answered([], 0)
    if joined.source_rows:
        yield joined


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
