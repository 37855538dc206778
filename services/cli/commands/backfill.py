"""The command that embeds what is stored: backfill."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from classifiers.errors import TAKEN_BY
from services.cli import options, quarantine, terminal
from services.cli.options import (
    AcceptOption,
    BackendOption,
    CpusOption,
    EncoderOption,
    Engine,
    EngineOption,
    GpusOption,
    JsonOption,
    RayAddressOption,
    StoreOption,
    TrustOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from embedder.encoder import Encoder
    from services.jobs.backfill.plan import Progress
    from services.jobs.progress import JobProgress, OnProgress
    from services.settings import Settings
    from store import Store

app = typer.Typer()


@app.command()
def backfill(
    encoder: EncoderOption = "lite0",
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Store the patch tokens of images too, in a table of their own.")
    ] = False,
    retry_quarantined: Annotated[
        bool, typer.Option("--retry-quarantined", help="Try again the assets that failed before.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time went.")] = False,
    backend: BackendOption = None,
    engine: EngineOption = Engine.LOCAL,
    ray_address: RayAddressOption = None,
    workers: WorkersOption = None,
    cpus: CpusOption = 1,
    gpus: GpusOption = 0.0,
    commit_rows: Annotated[
        int, typer.Option("--commit-rows", metavar="N", min=1, help="With --engine ray: rows of one commit.")
    ] = 512,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed every stored asset that has no vector of this encoder yet.

    Assets of other modalities are skipped and counted. Stop it whenever you like, and start it again: a vector that is
    stored is not computed again.
    """
    from embedder import registry
    from services.jobs.network import require_network

    if profile and engine is Engine.RAY:
        raise typer.BadParameter("--profile measures work in this process only; leave out --engine ray")
    settings = options.settings(
        store=store,
        backend=backend,
        ray_address=ray_address,
        accept_noncommercial=accept_noncommercial,
        trust_checkpoint=trust_checkpoint,
    )
    opened = options.open_store(settings)
    require_network(opened, encoder)
    model = registry.load(encoder, **settings.loading)
    run = _local(opened, model)
    if engine is Engine.RAY:
        run = _on_ray(opened, model, settings, workers, cpus, gpus, commit_rows)
    with terminal.progress_bar("backfill") as bar, terminal.stopping_on_sigterm():
        done = run(
            tokens=tokens,
            retry_quarantined=retry_quarantined,
            batch=settings.max_batch,
            limits=settings.limits,
            on_progress=_with_size_of_tokens(bar),
        )
    result = _summary(model, done, engine, settings) | {"skipped": _skipped(opened, model)}
    result |= _profiled(done, as_json) if profile else {}
    quarantine.finish(opened, result, done.failures, as_json=as_json)


def _local(store: "Store", model: "Encoder") -> Callable[..., "Progress"]:
    from services.jobs.backfill import local

    return partial(local.backfill, store, model)


def _on_ray(
    store: "Store",
    model: "Encoder",
    settings: "Settings",
    workers: int | None,
    cpus: int,
    gpus: float,
    commit_rows: int,
) -> Callable[..., "Progress"]:
    from services.jobs import ray

    sized = ray.Workers(settings.ray_address, workers, cpus, gpus)
    load = ray.loader(model.name, **settings.loading)
    return partial(ray.backfill, store, model, load, sized, commit_rows=commit_rows)


def _with_size_of_tokens(bar: "OnProgress[JobProgress]") -> "OnProgress[Progress]":
    """Return a callback that moves the bar. Its first call, before any row is written, prints the size of the tokens.

    Nothing is printed if the job writes no tokens.
    """
    first = True

    def moved(now: "Progress") -> None:
        nonlocal first
        if first and now.tokens and now.tokens.rows:
            terminal.err.print(
                f"The tokens will take {now.tokens}, and twice that for a week after the table is compacted."
            )
        first = False
        bar(now)

    return moved


def _summary(model: "Encoder", done: "Progress", engine: Engine, settings: "Settings") -> dict[str, Any]:
    return {
        "encoder": model.name,
        "engine": engine.value,
        "backend": model.backend if engine is Engine.LOCAL else settings.backend,
        "fingerprint": model.spec.fingerprint[:12],
        "missing": done.total,
        "embedded": done.done,
        "seconds": round(done.seconds, 2),
        "items_per_second": round(done.items_per_second, 1),
    }


def _profiled(done: "Progress", as_json: bool) -> dict[str, Any]:
    """Print the time of each stage as a table, or return it as part of the JSON."""
    stages = done.profile.stages(done.seconds)
    limit, share = done.profile.limit(done.seconds)
    if as_json:
        return {"profile": {name: asdict(each) for name, each in stages.items()}, "limit": limit}
    columns = ("stage", "threads", "busy s", "waiting s", "items/s alone")
    rows = [
        (name, each.threads, f"{each.busy:.2f}", f"{each.waiting:.2f}", f"{each.per_second:,.0f}")
        for name, each in stages.items()
    ]
    terminal.table(columns, rows)
    return {"limit": f"{limit}, busy {share:.0%} of the time"}


def _skipped(store: "Store", model: "Encoder") -> int:
    """Return the number of skipped assets. Print it for each modality, with an encoder that takes that modality."""
    others = {name: n for name, n in store.assets.modalities().items() if name not in model.spec.modalities}
    for modality, count in others.items():
        terminal.err.print(
            f"{count:,} assets of modality {modality} were skipped: {model.name} does not take them; "
            f"--encoder {TAKEN_BY[modality]} does"
        )
    return sum(others.values())
