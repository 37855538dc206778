"""Commands that learn without labels: cluster, adapt, condense."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.completion import task_names
from services.cli.options import (
    AcceptOption,
    BackendOption,
    EncoderOption,
    JsonOption,
    SeedOption,
    SetOption,
    StoreOption,
)

app = typer.Typer()

NearestOption = Annotated[
    int, typer.Option("--nearest", metavar="N", min=1, help="How many of the nearest clusters count for an image.")
]
RowsOption = Annotated[
    str | None,
    typer.Option(
        "--rows-of",
        metavar="TASK",
        help="Use only images that this task labels. The labels themselves are not read.",
        show_default="all images",
        autocompletion=task_names,
    ),
]


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
        "--clusters", metavar="N", min=2, help="The number of clusters.", show_default="a fiftieth of the rows"
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
    _show(result, done.browsing.record["notes"], as_json)


AdaptClusters = Annotated[
    int | None,
    typer.Option(
        "--clusters",
        metavar="N",
        min=2,
        help="Find this many clusters first. Not together with --from.",
        show_default="a quarter of the rows, at most 4096",
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
    _show(result, done.notes, as_json, then=f"headwater train --encoder {done.name} --task TASK --name NAME")


CondensePool = Annotated[
    int, typer.Option("--pool", metavar="N", min=1, help="Replace every N x N neighbouring tokens by their mean.")
]
CondenseComponents = Annotated[
    float | None,
    typer.Option(
        "--components",
        metavar="N",
        help="Keep N principal components of each token. A number below 1 keeps that share of the variance.",
        show_default="all numbers of a token",
    ),
]
CondenseImages = Annotated[
    int, typer.Option("--images", metavar="N", min=2, help="Learn the components from at most N images.")
]


@app.command()
def condense(
    encoder: EncoderOption = "lite0",
    pool: CondensePool = 1,
    components: CondenseComponents = None,
    images: CondenseImages = 1000,
    rows_of: RowsOption = None,
    seed: SeedOption = 0,
    backend: BackendOption = None,
    accept_noncommercial: AcceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Token reduction: make an encoder's patch tokens fewer and narrower.

    The result is a derived encoder with a name of its own, for `headwater backfill --tokens`.
    """
    from embedder import registry
    from services.jobs import condense as job

    if pool == 1 and components is None:
        raise typer.BadParameter("give --pool 2, --components 128, or both")
    settings = options.settings(store=store, backend=backend, accept_noncommercial=accept_noncommercial)
    request = job.CondenseRequest(
        pool=pool, components=_components(components), images=images, rows_of=rows_of, seed=seed
    )
    start, opened = time.perf_counter(), options.open_store(settings)
    parent = registry.load(encoder, **settings.loading)
    with terminal.progress_bar("condense") as bar, terminal.stopping_on_sigterm():
        done = job.condense(
            opened,
            parent,
            request,
            settings.adapters,
            limits=settings.limits,
            on_progress=bar,
        )
    result = {
        "encoder": done.name,
        "fingerprint": done.fingerprint[:12],
        "tokens": [" × ".join(map(str, shape)) for shape in (done.before, done.after)],
        "bytes_an_image": [2 * math.prod(shape) for shape in (done.before, done.after)],
        "variance_kept": round(done.kept, 4),
        "learned_from": done.learned,
        "seconds": round(time.perf_counter() - start, 2),
    }
    _show(result, (), as_json, then=f"headwater backfill --tokens --encoder {done.name}")


def _components(given: float | None) -> float | None:
    """Return a whole number as int: a float is a share of the variance. Raises typer.BadParameter."""
    if given is None or 0 < given < 1:
        return given
    if given < 1 or not given.is_integer():
        raise typer.BadParameter(f"--components {given:g}: give a whole number from 1, or a share between 0 and 1")
    return int(given)


def _show(result: Mapping[str, Any], notes: Sequence[str], as_json: bool, then: str = "") -> None:
    if as_json:
        print(json.dumps({**result, "notes": list(notes)}))
        return
    terminal.show(result, as_json=False)
    for note in notes:
        print(f"note: {note}")
    if then:
        print(f"next: {then}")
