"""The command that shows the whole workflow on 2,624 real photos, from bytes to served answers: demo."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from services.cli import demo_photos, options, terminal
from services.cli.options import SeedOption
from services.settings import Settings

app = typer.Typer()

KINDS = ("gaussian", "linear")
HELD_OUT = 8
"""Number of photos of the test split that the services classify."""


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the services running until Ctrl-C.")] = False,
    seed: SeedOption = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="FOLDER",
            help="Keep the store and the heads in this folder.",
            show_default="a temporary folder",
        ),
    ] = None,
) -> None:
    """Show the whole workflow on 2,624 photos of solar cells.

    The demo embeds the photos, trains two heads, serves them, and classifies photos that no head was trained on.
    """
    from services.processes import free_ports

    start = time.perf_counter()
    with TemporaryDirectory(prefix="headwater-demo-") as temporary, terminal.stopping_on_sigterm():
        home, ports = folder or Path(temporary), free_ports(2)
        settings = options.settings(
            store=str(home / "headwater.db"),
            heads=home / "heads",
            embedding_port=ports[0],
            classification_port=ports[1],
            log_level="WARNING",
        )
        cells = demo_photos.cells(seed)
        _fill(settings, cells)
        _train(settings, seed)
        _serve(settings, demo_photos.held_out(cells, HELD_OUT), keep, start)


def _fill(settings: Settings, cells: list[demo_photos.Cell]) -> None:
    from embedder import registry
    from services.jobs.backfill.local import backfill, open_features
    from services.jobs.ingest import ingest
    from store import Store

    store = Store.open(settings.store)
    done = ingest(store, demo_photos.items(cells), task=demo_photos.TASK)
    print(f"ingest    {done.handled:,} photos into {settings.store} in {done.seconds:.1f} s")
    begun = time.perf_counter()
    encoder = registry.load("lite0", backend=settings.backend, cache_dir=settings.cache)
    open_features(store, encoder)
    print(f"encoder   {encoder.name} on {encoder.backend}, probed in {time.perf_counter() - begun:.1f} s")
    with terminal.progress_bar("backfill") as bar:
        filled = backfill(store, encoder, batch=settings.max_batch, on_progress=bar)
    print(f"backfill  {filled.done:,} vectors in {filled.seconds:.1f} s, {filled.items_per_second:.0f} images/s")


def _train(settings: Settings, seed: int) -> None:
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import train
    from store import Store

    rows: list[tuple[str, ...]] = []
    for kind in KINDS:
        start = time.perf_counter()
        trained = train(
            Store.open(settings.store),
            Registry(settings.heads),
            task=demo_photos.TASK,
            encoders=["lite0"],
            kind=kind,
            name=kind,
            seed=seed,
        )
        test, seconds = trained.report.summaries()["test"], time.perf_counter() - start
        rows.append((kind, *(f"{test[each]:.3f}" for each in ("accuracy", "nll", "ece")), f"{seconds:.1f} s"))
    rows += [(f"{name} *", f"{accuracy:.3f}", "", "", "") for name, accuracy in demo_photos.PUBLISHED]
    terminal.table(("head", "test accuracy", "NLL", "ECE", "trained in"), rows)
    print("* Deitsch et al. 2019: the same photos, another split, so the figures compare roughly")


def _serve(settings: Settings, held_out: list[demo_photos.Cell], keep: bool, start: float) -> None:
    from services.client import Client
    from services.processes import running
    from services.web.access.keys import secret_of

    key = secret_of(settings.key)
    with running(settings) as services, Client(services.classification_url, key=key) as client:
        print(f"serving   {services.classification_url}/classify")
        answer = client.classify([cell.path for cell in held_out], heads=KINDS)
        rows = [
            (cell.path.name, cell.label, *(f"{a.label} {a.probability:.2f}" for a in item.answers))
            for cell, item in zip(held_out, answer.items, strict=True)
        ]
        terminal.table(("held-out photo", "truth", *KINDS), rows)
        print(f"done in {time.perf_counter() - start:.1f} s")
        if keep:
            photo = f"curl -F images=@{held_out[0].path} '{services.classification_url}/classify?head=gaussian'"
            print(f"still serving until Ctrl-C; ask it:\n{photo}")
            services.wait()
