"""The command `adapt`: adapt an encoder to the stored images, without labels."""

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
    SetOption,
    StoreOption,
)

app = typer.Typer()

AdaptClusters = Annotated[
    int | None,
    typer.Option(
        "--clusters",
        metavar="N",
        min=2,
        help="Find this many clusters first. Not together with --from.",
        show_default="a quarter of the rows, at most 4096, at least twice --nearest",
    ),
]
AdaptFrom = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TASK",
        help="Use the clusters that `headwater cluster --task TASK` found.",
        autocompletion=task_names,
    ),
]
AdaptLoss = Annotated[
    str, typer.Option("--loss", metavar="NAME", help="The training loss: mlcd, mlc, single or unicom.")
]


@app.command()
def adapt(
    encoder: EncoderOption = "lite0",
    clusters: AdaptClusters = None,
    from_: AdaptFrom = None,
    nearest: NearestOption = 8,
    loss: AdaptLoss = "mlcd",
    set_: SetOption = None,
    rows_of: RowsOption = None,
    seed: SeedOption = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adapt an encoder to the stored images, without labels.

    The result is a derived encoder with a name of its own. Its vectors are computed from the stored ones at once.
    """
    from classifiers.fit.discrimination.recipe import Recipe
    from services.jobs import adapt as job

    if from_ is not None and clusters is not None:
        raise typer.BadParameter("give --clusters or --from, not both")
    settings = options.settings(store=store)
    recipe = Recipe.of({"loss": loss, "nearest": nearest, "seed": seed} | options.parameters(set_))
    request = job.AdaptRequest(encoder=encoder, recipe=recipe, clusters=clusters, clustering=from_, rows_of=rows_of)
    start, opened = time.perf_counter(), options.open_store(settings)
    with terminal.progress_bar("adapt") as bar, terminal.stopping_on_sigterm():
        done = job.adapt(opened, request, settings.adapters, settings.clusters, bar)
    opened.optimize()
    first, last = done.curve[0], done.curve[-1]
    result = {
        "encoder": done.name,
        "fingerprint": done.fingerprint[:12],
        "learned_from": done.learned,
        "clusters": done.clusters,
        "vectors": done.rows,
        "written": done.written,
        "positive_cosine": [round(first.positive, 4), round(last.positive, 4)],
        "negative_cosine": [round(first.negative, 4), round(last.negative, 4)],
        "seconds": round(time.perf_counter() - start, 2),
        "report": str(done.path / "report.md"),
    }
    terminal.report(
        result, done.notes, then=f"headwater train --encoder {done.name} --task TASK --name NAME", as_json=as_json
    )
