"""The command `adapt`: adapt an encoder to the stored images, without labels."""

import enum
import time
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal, towers
from services.cli.completion import task_names
from services.cli.options import (
    AcceptOption,
    EncoderOption,
    JsonOption,
    NearestOption,
    RowsOption,
    SeedOption,
    SetOption,
    StoreOption,
    TrustOption,
)

if TYPE_CHECKING:
    from classifiers.fit.discrimination.recipe import Recipe
    from services.settings import Settings

app = typer.Typer()

AdaptClusters = Annotated[
    int | None,
    typer.Option(
        "--clusters",
        metavar="N",
        min=2,
        help="Find this many clusters first. Not together with --from.",
        show_default="a quarter of the training rows, at most 4,096; above 204,800 rows, a fiftieth; at least the "
        "default of cluster",
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


class Part(enum.StrEnum):
    """The part of an encoder that is trained."""

    MAP = "map"
    BACKBONE = "backbone"


TrainOption = Annotated[
    Part,
    typer.Option(
        "--train",
        help="What is trained: a map of the stored vectors, which takes seconds, or the network itself (backbone), "
        "from the stored images.",
    ),
]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="TASK",
        help="With --train backbone: before the training and after each epoch, nearest neighbours name the classes of "
        "this task's held-out images.",
        autocompletion=task_names,
        show_default="no judgement",
    ),
]


@app.command()
def adapt(
    encoder: EncoderOption = "lite0",
    train: TrainOption = Part.MAP,
    clusters: AdaptClusters = None,
    from_: AdaptFrom = None,
    nearest: NearestOption = 8,
    loss: AdaptLoss = "mlcd",
    set_: SetOption = None,
    rows_of: RowsOption = None,
    judge: JudgeOption = None,
    seed: SeedOption = 0,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adapt an encoder to the stored images, without labels.

    A trained map makes a derived encoder, whose vectors are computed from the stored ones at once. A trained backbone
    is an encoder of its own; a backfill embeds the images with it. Stop it whenever you like, and give the same command
    to go on.
    """
    if from_ is not None and clusters is not None:
        raise typer.BadParameter("give --clusters or --from, not both")
    if judge is not None and train is Part.MAP:
        raise typer.BadParameter("--judge needs --train backbone; a map is judged by training a head on its vectors")
    settings = options.settings(
        store=store, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    parameters = {"loss": loss, "nearest": nearest, "seed": seed} | options.parameters(set_)
    if train is Part.BACKBONE:
        from services.jobs.tune.plan import TuneRequest
        from services.jobs.tune.recipe import TowerRecipe

        request = TuneRequest(
            encoder=encoder,
            recipe=TowerRecipe.of(parameters),
            clusters=clusters,
            clustering=from_,
            rows_of=rows_of,
            judge=judge,
        )
        towers.train(request, settings, as_json=as_json)
        return
    from classifiers.fit.discrimination.recipe import Recipe

    _map(settings, encoder, Recipe.of(parameters), clusters, from_, rows_of, as_json=as_json)


def _map(
    settings: "Settings",
    encoder: str,
    recipe: "Recipe",
    clusters: int | None,
    clustering: str | None,
    rows_of: str | None,
    *,
    as_json: bool,
) -> None:
    """Train a map of the stored vectors, and print what came of it."""
    from services.jobs import adapt as job

    request = job.AdaptRequest(
        encoder=encoder, recipe=recipe, clusters=clusters, clustering=clustering, rows_of=rows_of
    )
    start, opened = time.perf_counter(), options.open_store(settings)
    with terminal.progress_bar("adapt") as bar, terminal.stopping_on_sigterm():
        done = job.adapt(opened, request, settings.adapters, settings.clusters, bar)
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
