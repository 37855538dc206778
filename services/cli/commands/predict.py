"""The command that writes a head's answers for a whole store, or for the files of folders, to one file: predict."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import datasets, options, terminal
from services.cli.commands.classify import Sets
from services.cli.completion import head_names
from services.cli.datasets import FormatOption
from services.cli.options import (
    AcceptOption,
    BackendOption,
    CpusOption,
    Engine,
    EngineOption,
    GpusOption,
    HeadsOption,
    JsonOption,
    NamesOnlyOption,
    OverwriteOption,
    RayAddressOption,
    StoreOption,
    TrustOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from classifiers.published.head import PublishedHead
    from services.jobs.predict import answers
    from services.jobs.predict.job import Predicted
    from services.settings import Settings

app = typer.Typer()

TABLE = "table"
SHOWN = 50
"""Rows that `--out table` prints."""

PredictFolders = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Folders or files to predict, or the folder of a published data set. Without them, the stored assets.",
        show_default=False,
    ),
]
PredictHead = Annotated[
    str,
    typer.Option(
        "--head",
        metavar="NAME",
        help="The head: NAME, NAME@ALIAS or NAME@VERSION.",
        autocompletion=head_names,
    ),
]
PredictOut = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help=f"The file to write: .parquet, .csv or .jsonl; {TABLE} prints the first {SHOWN} rows.",
    ),
]
PredictTask = Annotated[
    str | None,
    options.task_option(
        "Predict only the assets that this task labels; its labels are the truth.",
        "all assets; the truth is that of the head's own task",
    ),
]
PredictWhere = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="SQL",
        help="Predict only the assets that satisfy this condition, for example \"uri LIKE '%/2019/%'\".",
    ),
]


@app.command()
def predict(
    head: PredictHead,
    folder: PredictFolders = None,
    out: PredictOut = TABLE,
    task: PredictTask = None,
    where: PredictWhere = None,
    format_: FormatOption = None,
    top_k: Annotated[int, typer.Option("--top-k", metavar="N", min=1, help="How many labels are ranked.")] = 5,
    coverage: Annotated[
        float,
        typer.Option(
            "--coverage",
            metavar="C",
            help="The probability, between 0 and 1, with which the prediction set contains the right label.",
        ),
    ] = 0.9,
    sets: Annotated[Sets, typer.Option("--sets", help="How the prediction set is built.")] = Sets.lac,
    overwrite: OverwriteOption = False,
    names_only: NamesOnlyOption = False,
    engine: EngineOption = Engine.LOCAL,
    ray_address: RayAddressOption = None,
    workers: WorkersOption = None,
    cpus: CpusOption = 1,
    gpus: GpusOption = 0.0,
    backend: BackendOption = None,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a head's answers for every stored asset, or for the files of folders, to one file.

    Stored vectors are used where there are some; only other files are embedded. A run that was stopped goes on where
    it was when it is started again.
    """
    from classifiers.published.registry import Registry
    from services.jobs.predict import answers, job
    from store import Store
    from store.sources import read_sources

    if folder and (task is not None or where is not None):
        raise typer.BadParameter("--task and --where choose stored assets; leave them out with FOLDER")
    chosen = datasets.choose([str(path) for path in folder or ()], None, format_)
    settings = options.settings(
        store=store,
        heads=heads,
        backend=backend,
        ray_address=ray_address,
        accept_noncommercial=accept_noncommercial,
        trust_checkpoint=trust_checkpoint,
    )
    published = Registry(settings.heads).load(head)
    request = answers.PredictRequest(
        task=task,
        where=where,
        top_k=top_k,
        coverage=coverage,
        sets=sets.value,
        overwrite=overwrite,
        names_only=names_only,
    )
    run: answers.Engine = answers.local
    if engine is Engine.RAY:
        run = _on_ray(settings, published, workers, cpus, gpus)
    with _target(out) as file, terminal.progress_bar("predict") as bar, terminal.stopping_on_sigterm():
        if folder:
            opened = Store.open(settings.store, max_file_bytes=settings.max_file_bytes)
            sources = chosen.dataset if chosen else read_sources(folder)
            done = job.predict_files(sources, opened, published, request, file, settings, bar, run)
        else:
            opened = options.open_store(settings)
            done = job.predict_stored(opened, published, request, file, bar, run)
        first = _first(file) if out == TABLE else []
    if chosen:
        chosen.require_some(done.handled)
    _finish(published, done, out, first, as_json, chosen)


def _on_ray(
    settings: "Settings", head: "PublishedHead", workers: int | None, cpus: int, gpus: float
) -> "answers.Engine":
    from classifiers.published.registry import Registry
    from services.jobs import ray

    folder = Registry(settings.heads).path(f"{head.name}@{head.version}")
    return partial(ray.predicting, ray.Workers(settings.ray_address, workers, cpus, gpus), folder)


@contextmanager
def _target(out: str) -> Iterator[Path]:
    """Yield the file to write; for a printed table, a temporary one. Raises typer.BadParameter for another ending."""
    from services.jobs.predict.tables import SINKS

    if out == TABLE:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "predictions.parquet"
        return
    path = Path(out).expanduser()
    if path.suffix.lower() not in SINKS:
        raise typer.BadParameter(f"--out {out}: give {TABLE}, or a file that ends with {', '.join(SINKS)}")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"--out {out}: the folder {path.parent} does not exist")
    yield path.absolute()


def _first(file: Path) -> list[dict[str, Any]]:
    """Return the first rows of a Parquet file of predictions."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as found:
        batch = next(found.iter_batches(SHOWN), None)
    return [] if batch is None else batch.to_pylist()


def _finish(
    head: "PublishedHead",
    done: "Predicted",
    out: str,
    first: list[dict[str, Any]],
    as_json: bool,
    chosen: datasets.Chosen | None,
) -> None:
    """Print the result, or the first rows and the result. Raises typer.Exit."""
    result = {
        "head": f"{head.name}@{head.version}",
        "predicted": done.rows,
        "without_a_vector": done.without_vector,
        "resumed": done.resumed,
        "with_a_truth": done.with_truth,
        "agreement": round(done.right / done.with_truth, 4) if done.with_truth else None,
        "failed": done.quarantined,
        "seconds": round(done.seconds, 2),
        "out": out,
    }
    if as_json:
        more = ({"predictions": first} if out == TABLE else {}) | (chosen.as_json() if chosen else {})
        terminal.show(result | {"reasons": dict(done.failures.counts)} | more, as_json=True)
    else:
        if chosen:
            chosen.show()
        if first:
            terminal.table(
                ("path", "truth", "label", "probability", "prediction set", "outlier percentile"), map(_cells, first)
            )
        terminal.show({name: value for name, value in result.items() if value not in (0, None)}, as_json=False)
        terminal.notes(_notes(done, len(first)))
        for reason, count in done.failures.counts.most_common():
            example = done.failures.examples[reason]
            print(f"{count:,} {reason}, e.g. {example.key}: {example.message}")
    lost = done.quarantined or (chosen is not None and chosen.dataset.loses)
    raise typer.Exit(terminal.PARTIAL if lost else 0)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    label, truth, outlier = row.get("labels", row["label"]), row["truth"], row["outlier"]
    return (
        row["path"] or row["id"][:12],
        _text(truth),
        _text(label),
        "" if row["probability"] is None else f"{row['probability']:.3f}",
        _text(row["set"]),
        "" if outlier is None else f"{outlier:.0f}",
    )


def _text(value: str | list[str] | None) -> str:
    return ", ".join(value) if isinstance(value, list) else value or ""


def _notes(done: "Predicted", shown: int) -> Iterator[str]:
    if shown and shown < done.rows:
        yield f"the first {shown} of {done.rows:,} rows; --out FILE writes all"
    if done.with_truth:
        yield "the agreement counts rows that the head learned from; `headwater evaluate` measures it on held-out rows"
    if done.without_vector:
        yield f"{done.without_vector:,} assets have no vector that the head reads; `headwater backfill` embeds them"
    if done.too_large:
        yield f"{done.too_large:,} rows have no label, because their vectors are too large for the head"
