"""The command that makes a head: train."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import KINDS, kind_names
from services.cli.figures import show_figures
from services.cli.options import (
    AcceptOption,
    CpusOption,
    EncodersOption,
    Engine,
    EngineOption,
    HeadsOption,
    JsonOption,
    RayAddressOption,
    SeedOption,
    SetOption,
    StoreOption,
    TaskOption,
    TrustOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from classifiers.evaluation.reports.leakage import Leakage
    from classifiers.training.pipeline import Trained
    from classifiers.training.rows.rows import Elsewhere
    from services.settings import Settings

app = typer.Typer()


@app.command()
def train(
    task: TaskOption,
    name: Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="The name of the head.")],
    encoder: EncodersOption = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            "-k",
            metavar="KIND",
            help=f"The kind of head: {', '.join(KINDS)}. zeroshot learns from class names; labelwise, bilinear and "
            "decoder take rows with any number of labels.",
            autocompletion=kind_names,
        ),
    ] = "gaussian",
    set_: SetOption = None,
    seed: SeedOption = 0,
    engine: EngineOption = Engine.LOCAL,
    ray_address: RayAddressOption = None,
    workers: WorkersOption = None,
    cpus: CpusOption = 1,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a head on stored vectors and publish it, with a report.

    It learns from the rows of split train, is calibrated on those of val (a task without val rows: by cross-validation
    on the training rows), and its report measures it on test and on the out-of-distribution rows in ood.
    """
    if engine is Engine.RAY and (kind != "gaussian" or len(encoder or ()) > 1):
        raise typer.BadParameter("--engine ray trains heads of kind gaussian on one encoder; leave it out")
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import train as train_head
    from services.jobs.texts import text_sides

    settings = options.settings(
        store=store,
        heads=heads,
        ray_address=ray_address,
        accept_noncommercial=accept_noncommercial,
        trust_checkpoint=trust_checkpoint,
    )
    opened = options.open_store(settings)
    with _elsewhere(engine, settings, workers, cpus) as elsewhere:
        trained = train_head(
            opened,
            Registry(settings.heads),
            task=task,
            encoders=encoder or ["lite0"],
            kind=kind,
            name=name,
            params=options.parameters(set_),
            seed=seed,
            texts=text_sides(opened, settings),
            elsewhere=elsewhere,
        )
    _show(trained, name, kind, as_json)


def listing(found: "Leakage") -> str:
    """Return a sentence that names the command that lists near-duplicates."""
    threshold = f" --threshold {found.threshold:.4g}" if found.found else ""
    task, encoder = shlex.quote(found.task), shlex.quote(found.encoder)
    return f"`headwater duplicates --encoder {encoder} --task {task}{threshold}` lists near-duplicates."


@contextmanager
def _elsewhere(engine: Engine, settings: "Settings", workers: int | None, cpus: int) -> "Iterator[Elsewhere | None]":
    """Yield the function that gathers statistics of rows on a Ray cluster; None to gather them in this process."""
    if engine is Engine.LOCAL:
        yield None
        return
    from services.jobs.ray import Workers
    from services.jobs.ray.fit import statistics

    with statistics(Workers(settings.ray_address, workers, cpus)) as elsewhere:
        yield elsewhere


def _show(trained: "Trained", name: str, kind: str, as_json: bool) -> None:
    """Print the result. Warnings go to standard error too, so that a script's user sees them."""
    report = trained.report
    for warning in trained.warnings:
        terminal.warn(warning)
    result = {"name": name, "version": trained.version, "kind": kind, "report": str(trained.path / "report.md")}
    if as_json:
        found = {
            "rows": report.rows,
            "notes": report.notes,
            "warnings": trained.warnings,
            "calibration": asdict(report.calibration) if report.calibration else None,
            "groups": report.groups.to_dict() if report.groups else None,
        }
        outside = report.ood.to_dict() if report.ood else None
        leakage = report.leakage.to_dict() | {"how": listing(report.leakage)} if report.leakage else None
        print(json.dumps(result | found | {"figures": report.summaries(), "near_duplicates": leakage, "ood": outside}))
        return
    terminal.show(result, as_json=False)
    show_figures(report.summaries())
    if report.ood:
        print("\n".join(report.ood.markdown()))
    terminal.notes(
        (*report.remarks, *((f"{report.leakage.note()} {listing(report.leakage)}",) if report.leakage else ()))
    )
