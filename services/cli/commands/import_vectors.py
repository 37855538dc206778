"""The command that stores vectors that were made elsewhere: import-vectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.completion import task_names
from services.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from services.jobs.import_vectors.job import Imported
    from services.jobs.import_vectors.labels import SecondFile
    from services.jobs.import_vectors.sources import Source

app = typer.Typer()

ImportFile = Annotated[
    Path,
    typer.Argument(
        help="A file (.npy, .parquet, .csv, .jsonl, samples.json of FiftyOne), or a folder (of clip-retrieval, of "
        "FiftyOne, or of Parquet files).",
        show_default=False,
    ),
]
ImportName = Annotated[
    str, typer.Option("--name", "-n", metavar="NAME", help="The name of the encoder that the vectors make.")
]
ImportRows = Annotated[
    Path | None,
    typer.Option(
        "--rows",
        metavar="FILE",
        help="With an NPY file: a table (Parquet, CSV or JSON lines) with the id of each vector, and label and split "
        "if known, in the same order.",
    ),
]
ImportLabels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="A table (Parquet, CSV or JSON lines) with the labels, joined by its column of ids. Needs --task.",
    ),
]
ImportTask = Annotated[
    str | None,
    typer.Option(
        "--task",
        "-t",
        metavar="NAME",
        help="The task that the labels belong to. Without it, no label is stored.",
        autocompletion=task_names,
    ),
]
ImportSource = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="TEXT",
        help="What made the vectors, for example 'open_clip ViT-B-32 openai, normalised'. It is part of the identity.",
    ),
]
ImportAdd = Annotated[
    bool,
    typer.Option(
        "--add",
        help="States that the same network made these vectors and those stored under NAME, although the file repeats "
        "none of them.",
    ),
]


@app.command(name="import-vectors")
def import_vectors(
    file: ImportFile,
    name: ImportName,
    rows: ImportRows = None,
    labels: ImportLabels = None,
    task: ImportTask = None,
    source: ImportSource = "not stated",
    vector_column: Annotated[
        str | None,
        typer.Option(
            "--vector-column",
            metavar="NAME",
            help="The column of vectors, or the start of the names of many columns, such as embedding_.",
            show_default="guessed",
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option("--id-column", metavar="NAME", help="The column of ids, paths or names.", show_default="guessed"),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option("--label-column", metavar="NAME", help="The column of labels.", show_default="guessed"),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option("--split-column", metavar="NAME", help="The column of splits.", show_default="guessed"),
    ] = None,
    add: ImportAdd = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store vectors that were made elsewhere, as an encoder without a network.

    Heads are trained on it and asked as usual, with vectors or ids instead of files. Everything is checked before
    anything is stored. Run it again to add rows.
    """
    from services.jobs.import_vectors.columns import Columns
    from services.jobs.import_vectors.job import ImportRequest
    from services.jobs.import_vectors.job import import_vectors as job
    from services.jobs.import_vectors.labels import SecondFile
    from services.jobs.import_vectors.layouts import open_source
    from store import Store

    if labels is not None and task is None:
        raise typer.BadParameter("--labels needs --task")
    own = Columns(vector_column, id_column, None if labels else label_column, None if labels else split_column)
    opened = open_source(file, rows, own)
    second = SecondFile.read(labels, Columns(None, None, label_column, split_column)) if labels else None
    request = ImportRequest(name=name, made_by=source, task=task, labels=second, add=add)
    target = Store.open(options.settings(store=store).store)
    with terminal.progress_bar("import-vectors") as bar, terminal.stopping_on_sigterm():
        done = job(target, opened, request, bar)
    terminal.report(_summary(done, opened, task), _notes(done, opened, second), _then(done, task), as_json=as_json)


def _summary(done: "Imported", source: "Source", task: str | None) -> dict[str, Any]:
    result = {
        "encoder": done.name,
        "fingerprint": done.fingerprint[:12],
        "vectors": f"{source.field}, {done.dim} × {source.dtype}",
        "ids": source.columns.ids or "row numbers",
        "rows": done.rows,
        "new": done.new,
        "already_stored": done.known,
        "stored_files": done.stored_files,
        "without_a_file": done.without_file,
    }
    if task is not None:
        result |= {"labelled": done.labelled, "without_a_label": done.unlabelled}
    return result | {"seconds": round(done.seconds, 2), "index_seconds": round(done.index_seconds, 2)}


def _notes(done: "Imported", source: "Source", second: "SecondFile | None") -> list[str]:
    notes = []
    if source.dtype != done.dtype:
        notes.append(f"the numbers are {source.dtype}; they are stored as {done.dtype}")
    if done.example is not None:
        notes.append(
            f"{done.without_file:,} rows name no stored file, e.g. {done.example}: each is an asset without a file, "
            "which no other encoder can embed"
        )
    if second is not None and second.unused:
        notes.append(
            f"{len(second.unused):,} of {len(second.rows):,} rows of {second.path} name none of the vectors, e.g. "
            f"{second.unused[0]}"
        )
    return notes


def _then(done: "Imported", task: str | None) -> str:
    return f"headwater train --task {task or 'TASK'} --encoder {done.name} --name NAME"
