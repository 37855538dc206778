"""The command `cluster`: find clusters in stored vectors, without labels."""

import time
from typing import Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import task_names
from services.cli.options import (
    EncoderOption,
    JsonOption,
    NamesOnlyOption,
    NearestOption,
    OverwriteOption,
    RowsOption,
    SeedOption,
    StoreOption,
)
from services.cli.reviews import out_file

app = typer.Typer()

ClusterTask = Annotated[
    str,
    typer.Option(
        "--task",
        "-t",
        metavar="NAME",
        help="The task that gets the pseudo-labels. The folder of the report has the same name.",
    ),
]
ClusterClusters = Annotated[
    int | None,
    typer.Option(
        "--clusters",
        metavar="N",
        min=2,
        help="The number of clusters.",
        show_default="a fiftieth of the training rows; at least twice --nearest, or half of the rows if that is fewer",
    ),
]
ClusterDelta = Annotated[
    float | None,
    typer.Option(
        "--delta",
        metavar="D",
        min=0,
        help="Drop those of the nearest clusters whose cosine is more than D below that of the nearest one.",
    ),
]
ClusterAgainst = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="TASK",
        help="Compare the clusters with the labels of this task. Nothing is learned from them.",
        autocompletion=task_names,
    ),
]

ClusterOut = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="The file to write the clusters of every asset to: .parquet, .csv or .jsonl.",
        show_default="no file; the store has them",
    ),
]


@app.command()
def cluster(
    task: ClusterTask,
    encoder: EncoderOption = "lite0",
    clusters: ClusterClusters = None,
    nearest: NearestOption = 8,
    delta: ClusterDelta = None,
    rows_of: RowsOption = None,
    against: ClusterAgainst = None,
    seed: SeedOption = 0,
    out: ClusterOut = None,
    overwrite: OverwriteOption = False,
    names_only: NamesOnlyOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cluster stored vectors without labels.

    The nearest clusters of every image become the labels of a task (pseudo-labels), and a report shows what the
    clusters contain.
    """
    from services.jobs import cluster as job
    from services.jobs.review import output

    file, settings = out_file(out, overwrite), options.settings(store=store)
    request = job.ClusterRequest(
        encoder=encoder,
        task=task,
        clusters=clusters,
        nearest=nearest,
        delta=delta,
        rows_of=rows_of,
        against=against,
        seed=seed,
    )
    start = time.perf_counter()
    with terminal.progress_bar("cluster") as bar, terminal.stopping_on_sigterm():
        opened = options.open_store(settings)
        done = job.cluster(opened, settings.clusters, request, bar)
    if file is not None:
        found = job.pseudo_labelled(opened, task)
        output.save(output.names_only(found) if names_only else found, file, overwrite=overwrite)
    result = {
        "task": task,
        "encoder": encoder,
        **done.browsing.summary(),
        "seconds": round(time.perf_counter() - start, 2),
        "report": str(done.path / "report.md"),
        **({} if file is None else {"out": str(file)}),
    }
    terminal.report(result, done.browsing.record["notes"], as_json=as_json)
