"""Commands that learn without labels: cluster, adapt, condense."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from embedder import cpus
from services.cli import output
from services.cli.output import AcceptOption, BackendOption, EncoderOption, JsonOption, StoreOption

app = typer.Typer()

ClustersOption = Annotated[
    int | None, typer.Option("--clusters", min=2, help="how many; by the number of rows if not given")
]
NearestOption = Annotated[int, typer.Option("--nearest", min=1, help="nearest clusters of each image")]
RowsOption = Annotated[str | None, typer.Option("--rows-of", help="only images of this task; no label is read")]
SeedOption = Annotated[int, typer.Option(min=0, help="of everything random")]


@app.command()
def cluster(
    task: Annotated[str, typer.Option("--task", "-t", help="name of the pseudo-labels, and of the report's folder")],
    encoder: EncoderOption = "lite0",
    clusters: ClustersOption = None,
    nearest: NearestOption = 8,
    delta: Annotated[
        float | None, typer.Option(min=0, help="of these, only clusters at most so much less near, in cosine")
    ] = None,
    rows_of: RowsOption = None,
    against: Annotated[str | None, typer.Option("--against", help="a task to compare the clusters with")] = None,
    seed: SeedOption = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cluster stored vectors; the nearest clusters of every image become a task of pseudo-labels."""
    from services.jobs import cluster as job
    from store import Store

    settings = output.settings(store=store)
    wanted = job.ClusterRequest(
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
    with output.progress_bar("cluster") as bar:
        done = job.cluster(
            Store.open(settings.store, must_exist=True), settings.clusters, wanted, lambda step: bar(*step)
        )
    result = {
        "task": task,
        "encoder": encoder,
        **done.browsing.summary(),
        "seconds": round(time.perf_counter() - start, 2),
        "report": str(done.path / "report.md"),
    }
    _show(result, done.browsing.record["notes"], as_json)


@app.command()
def adapt(
    encoder: EncoderOption = "lite0",
    clusters: ClustersOption = None,
    from_: Annotated[str | None, typer.Option("--from", help="a task that `cluster` made, for its centres")] = None,
    nearest: NearestOption = 8,
    loss: Annotated[str, typer.Option(help="mlcd, mlc, single or unicom")] = "mlcd",
    set_: Annotated[list[str] | None, typer.Option("--set", help="how to train, as name=value")] = None,
    rows_of: RowsOption = None,
    seed: SeedOption = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adapt an encoder to what is stored, without labels: a derived encoder with vectors of its own."""
    from classifiers.fit.discrimination.recipe import Recipe
    from services.jobs import adapt as job
    from store import Store

    if from_ is not None and clusters is not None:
        raise typer.BadParameter("give --clusters or --from, not both")
    settings = output.settings(store=store)
    given = {"loss": loss, "nearest": nearest, "seed": seed}
    recipe = Recipe.of(given | dict(output.assignment(text) for text in set_ or ()))
    wanted = job.AdaptRequest(encoder=encoder, recipe=recipe, clusters=clusters, clustering=from_, rows_of=rows_of)
    start = time.perf_counter()
    with output.progress_bar("adapt") as bar:
        opened = Store.open(settings.store, must_exist=True)
        done = job.adapt(opened, wanted, settings.adapters, settings.clusters, lambda step: bar(*step))
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
    _show(result, done.notes, as_json)
    if not as_json:
        output.out.print(f"next: headwater train --encoder {done.name} --task T --name N")


@app.command()
def condense(
    encoder: EncoderOption = "lite0",
    pool: Annotated[int, typer.Option(min=1, help="mean of so many × so many neighbouring tokens")] = 1,
    components: Annotated[
        float | None,
        typer.Option(help="principal components of a token, or the share of the variance (0…1) that they keep"),
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="learn the components from so many, at most")] = 1000,
    rows_of: RowsOption = None,
    seed: SeedOption = 0,
    backend: BackendOption = None,
    accept_noncommercial: AcceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an encoder's patch tokens fewer and narrower: a derived encoder with tokens that a store can hold."""
    from embedder import registry
    from services.jobs import condense as job
    from store import Store

    if pool == 1 and components is None:
        raise typer.BadParameter("say how: --pool 2, --components 128, or both")
    number = _components(components)
    settings = output.settings(store=store, backend=backend, accept_noncommercial=accept_noncommercial)
    wanted = job.CondenseRequest(pool=pool, components=number, images=images, rows_of=rows_of, seed=seed)
    start = time.perf_counter()
    opened = Store.open(settings.store, must_exist=True)
    parent = registry.load(encoder, **settings.loading)
    with output.progress_bar("condense") as bar:
        done = job.condense(
            opened,
            parent,
            wanted,
            settings.adapters,
            threads=cpus.usable(),
            limits=settings.limits,
            on_progress=lambda step: bar(*step),
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
    _show(result, (), as_json)
    if not as_json:
        output.out.print(f"next: headwater backfill --tokens --encoder {done.name}")


def _components(given: float | None) -> float | None:
    """Whole numbers as int, which is what tells them from shares."""
    if given is None or 0 < given < 1:
        return given
    if given < 1 or not given.is_integer():
        raise typer.BadParameter(
            f"--components takes a whole number from 1 on, or a share between 0 and 1, not {given}"
        )
    return int(given)


def _show(result: Mapping[str, Any], notes: Sequence[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({**result, "notes": list(notes)}))
        return
    output.show({key: _shown(value) for key, value in result.items()}, as_json=False)
    for note in notes:
        output.out.print(f"note: {note}")


def _shown(value: object) -> object:
    if isinstance(value, list):
        return " → ".join(map(str, value))
    return f"{value:.3f}" if isinstance(value, float) else value
