"""The command `cluster`: find clusters in stored vectors, without labels."""

import time
from typing import Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import task_names
from services.cli.options import (
    EncoderOption,
    JsonOption,
    NearestOption,
    RowsOption,
    SeedOption,
    StoreOption,
)

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
        show_default="a fiftieth of the rows, at least twice --nearest",
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
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cluster stored vectors without labels.

    The nearest clusters of every image become the labels of a task (pseudo-labels), and a report shows what the
    clusters contain.
    """
    from services.jobs import cluster as job

    settings = options.settings(store=store)
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
        done = job.cluster(options.open_store(settings), settings.clusters, request, bar)
    result = {
        "task": task,
        "encoder": encoder,
        **done.browsing.summary(),
        "seconds": round(time.perf_counter() - start, 2),
        "report": str(done.path / "report.md"),
    }
    terminal.report(result, done.browsing.record["notes"], as_json=as_json)
