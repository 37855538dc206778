"""The command `condense`: make an encoder's patch tokens fewer and narrower."""

import math
import time
from typing import Annotated

import typer

from services.cli import options, terminal
from services.cli.options import (
    AcceptOption,
    BackendOption,
    EncoderOption,
    JsonOption,
    RowsOption,
    SeedOption,
    StoreOption,
    TrustOption,
)

app = typer.Typer()

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
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Token reduction: make an encoder's patch tokens fewer and narrower.

    The result is a derived encoder with a name of its own, for `headwater backfill --tokens`.
    """
    from embedder import registry
    from services.jobs import condense as job
    from services.jobs.network import require_network

    if pool == 1 and components is None:
        raise typer.BadParameter("give --pool 2, --components 128, or both")
    settings = options.settings(
        store=store, backend=backend, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    request = job.CondenseRequest(
        pool=pool, components=_components(components), images=images, rows_of=rows_of, seed=seed
    )
    start, opened = time.perf_counter(), options.open_store(settings)
    require_network(opened, encoder)
    parent = registry.load(encoder, **settings.loading)
    with terminal.progress_bar("condense") as bar, terminal.stopping_on_sigterm():
        done = job.condense(
            opened,
            parent,
            request,
            settings.adapters,
            batch=settings.max_batch,
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
    terminal.report(result, (), then=f"headwater backfill --tokens --encoder {done.name}", as_json=as_json)


def _components(given: float | None) -> float | None:
    """Return a whole number as int: a float is a share of the variance. Raises typer.BadParameter."""
    if given is None or 0 < given < 1:
        return given
    if given < 1 or not given.is_integer():
        raise typer.BadParameter(f"--components {given:g}: give a whole number from 1, or a share between 0 and 1")
    return int(given)
