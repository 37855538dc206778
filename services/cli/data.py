"""Commands that fill the store: ingest, backfill, export, import."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.cli.output import (
    AcceptOption,
    BackendOption,
    CpusOption,
    EncoderOption,
    Engine,
    EngineOption,
    GpusOption,
    JsonOption,
    ModalityOption,
    RayAddressOption,
    StoreOption,
    WorkersOption,
)
from store.errors import BadSource

if TYPE_CHECKING:
    from services.jobs.backfill.local import Progress
    from services.jobs.progress import Failures
    from store import Store

app = typer.Typer()


@app.command()
def ingest(
    source: Annotated[list[str], typer.Argument(help="a folder of class folders, a Parquet file, or files")],
    task: Annotated[str | None, typer.Option("--task", "-t", help="name of what the labels say")] = None,
    modality: ModalityOption = None,
    reference: Annotated[bool, typer.Option(help="keep the path only, not the bytes")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store files, and their labels under a task. Running it again changes nothing."""
    from services.jobs import ingest as job
    from store import Store, interchange

    settings = output.settings(store=store)
    opened, items = Store.open(settings.store), interchange.read_sources(source)
    with output.progress_bar("ingest") as bar:
        done = job.ingest(
            opened,
            items,
            task=task,
            modality=output.modality(modality),
            reference=reference,
            on_progress=lambda now: bar(now.handled, None, f"{now.quarantined} quarantined"),
        )
    opened.optimize()
    if not done.handled:
        raise BadSource(
            f"no file in {', '.join(source)}; give a folder of class folders, a Parquet file, or files one by one"
        )
    result = {
        "store": settings.store,
        "new_assets": done.new,
        "known_assets": done.known,
        "labelled": done.labelled,
        "seconds": round(done.seconds, 2),
    }
    _finish(opened, result, done.failures, as_json)


@app.command()
def backfill(
    encoder: EncoderOption = "lite0",
    tokens: Annotated[bool, typer.Option(help="store patch tokens too, in a table of their own")] = False,
    retry_quarantined: Annotated[bool, typer.Option(help="try those again that failed before")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="tell where the time went")] = False,
    backend: BackendOption = None,
    engine: EngineOption = Engine.LOCAL,
    ray_address: RayAddressOption = None,
    workers: WorkersOption = None,
    cpus: CpusOption = 1,
    gpus: GpusOption = 0.0,
    commit_rows: Annotated[int, typer.Option(min=1, help="of engine ray: rows a commit")] = 512,
    accept_noncommercial: AcceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed every stored asset that lacks a vector. Stop it and start it again as you like."""
    from embedder import registry
    from services.jobs.backfill import local as job
    from store import Store

    settings = output.settings(
        store=store, backend=backend, ray_address=ray_address, accept_noncommercial=accept_noncommercial
    )
    opened = Store.open(settings.store, must_exist=True)
    model = registry.load(encoder, **settings.loading)
    run: Callable[..., job.Progress] = partial(job.backfill, opened, model, threads=os.cpu_count() or 1)
    if engine is Engine.RAY:
        if profile:
            raise typer.BadParameter("--profile tells of the local engine; leave out --engine ray")
        from services.jobs import ray as distributed

        cluster = distributed.Cluster(settings.ray_address, workers, cpus, gpus)
        load = distributed.loader(encoder, **settings.loading)
        run = partial(distributed.backfill, opened, model, load, cluster, commit_rows=commit_rows)
    with output.progress_bar("backfill") as bar, output.stopping_on_sigterm():

        def moved(now: "Progress") -> None:
            if now.tokens and not now.done:
                output.err.print(f"tokens of {now.tokens}; twice that on disk for a week after they are compacted")
            bar(now.done + now.quarantined, now.total, f"{now.items_per_second:.0f}/s")

        done = run(
            tokens=tokens,
            retry_quarantined=retry_quarantined,
            batch=settings.max_batch,
            limits=settings.limits,
            on_progress=moved,
        )
    opened.optimize()
    _tell_others(opened, model.spec.modalities)
    result: dict[str, Any] = {
        "encoder": encoder,
        "engine": engine.value,
        "backend": model.backend if engine is Engine.LOCAL else settings.backend,
        "fingerprint": model.spec.fingerprint[:12],
        "missing": done.total,
        "embedded": done.done,
        "seconds": round(done.seconds, 2),
        "items_per_second": round(done.items_per_second, 1),
    }
    if profile:
        result |= _profiled(done, as_json)
    _finish(opened, result, done.failures, as_json)


def _profiled(done: "Progress", as_json: bool) -> dict[str, Any]:
    """Where the time went: as a table, or to be part of the JSON."""
    stages = done.profile.stages(done.seconds)
    limit, share = done.profile.limit(done.seconds)
    if as_json:
        return {"profile": {name: asdict(each) for name, each in stages.items()}, "limit": limit}
    columns = ("stage", "threads", "busy s", "waiting s", "items/s alone")
    rows = [
        (name, each.threads, f"{each.busy:.2f}", f"{each.waiting:.2f}", f"{each.per_second:,.0f}")
        for name, each in stages.items()
    ]
    output.table(columns, rows)
    return {"limit": f"{limit}, busy {share:.0%} of the time"}


def _tell_others(store: "Store", taken: Sequence[str]) -> None:
    """What an encoder leaves alone, and which would take it."""
    for modality, count in store.assets.modalities().items():
        if modality not in taken:
            hint = {"image": "lite0", "audio": "melstat"}.get(modality, "imagebind/huge")
            output.err.print(f"{count:,} assets are {modality}, which this encoder does not take; try --encoder {hint}")


def _finish(store: "Store", result: dict[str, Any], failures: "Failures", as_json: bool) -> None:
    """Show the result with the number and an example of every reason for quarantine, and exit. Raises typer.Exit."""
    result["quarantined"] = failures.total
    if as_json:
        output.show(result | {"reasons": dict(failures.counts)}, as_json=True)
    else:
        output.show(result, as_json=False)
        ids = store.assets.exists([example.key for example in failures.examples.values()])
        uris = {asset.id: asset.uri for asset in store.assets.get(sorted(ids))}
        for reason, count in failures.counts.most_common():
            example = failures.examples[reason]
            line = f"{count:,} {reason}, e.g. {uris.get(example.key, example.key)}: {example.message}"
            output.out.print(line)
    raise typer.Exit(output.PARTIAL if failures.total else 0)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="folder to write; one Parquet file a table")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every table of the store as Parquet."""
    from store import Store, interchange

    rows = interchange.export_parquet(Store.open(output.settings(store=store).store, must_exist=True), folder)
    output.show({"folder": folder, **rows}, as_json=as_json)


@app.command(name="import")
def import_(
    folder: Annotated[Path, typer.Argument(help="folder that `export` wrote")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read tables that `export` wrote into the store. What is there already stays."""
    from store import Store, interchange

    uri = output.settings(store=store).store
    rows = interchange.import_parquet(Store.open(uri), folder)
    output.show({"store": uri, **rows}, as_json=as_json)
