"""The command that shows which head to use for how few rows: fewshot."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal
from services.cli.options import (
    AcceptOption,
    EncodersOption,
    JsonOption,
    SeedOption,
    StoreOption,
    TaskOption,
    TrustOption,
)

if TYPE_CHECKING:
    from classifiers.compare.few_shot import FewShot, Point

app = typer.Typer()


@app.command()
def fewshot(
    task: TaskOption,
    encoder: EncodersOption = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            "--candidate",
            "-c",
            metavar="TEXT",
            help="Try this head, for example 'gaussian norm=unit'. Repeat it for several.",
            show_default="class means, gaussian, linear, zeroshot with and without rows",
        ),
    ] = None,
    shots: Annotated[
        list[int] | None,
        typer.Option(
            "--shots",
            metavar="N",
            min=1,
            help="Training rows of each class. Repeat it for several.",
            show_default="1, 2, 4, 8, 16",
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", metavar="N", min=1, help="Random draws of these rows.")] = 5,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Write the curves to this PNG file.", show_default=False),
    ] = None,
    seed: SeedOption = 0,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how good heads are that learn from 1, 2, 4, 8 and 16 training rows of each class.

    All heads are measured on the same test rows (or, without test rows, on those of val). Nothing is published.
    """
    from classifiers.compare.candidates import parse
    from classifiers.compare.few_shot import SHOTS, WITH_TEXTS, WITHOUT_TEXTS, few_shot
    from services.jobs.progress import Step
    from services.jobs.texts import text_sides

    settings = options.settings(
        store=store, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened, names = options.open_store(settings), encoder or ["lite0"]
    sided = all(opened.features(name).spec.text is not None for name in names)
    lines = candidate or [*WITHOUT_TEXTS, *(WITH_TEXTS if sided else ())]
    tried = [parse(f"{line} @ {shlex.join(names)}", names)[0] for line in lines]
    with terminal.progress_bar("fewshot") as bar, terminal.stopping_on_sigterm():
        found = few_shot(
            opened,
            task,
            names,
            tried,
            shots=shots or SHOTS,
            draws=draws,
            seed=seed,
            texts=text_sides(opened, settings),
            on_head=lambda done, total: bar(Step(done, total, "heads learned")),
        )
    if plot is not None:
        _draw(plot, found)
    if as_json:
        terminal.show({"task": task, "encoders": names, **found.to_dict()}, as_json=True)
        return
    title = (
        f"task {task}: accuracy on {found.held_out:,} rows of {found.split}, with {draws} "
        f"draw{'s' if draws > 1 else ''} of the training rows"
    )
    terminal.table(("training rows of each class", *map(str, found.rows)), list(_rows(found)), title)
    terminal.notes(_notes(found))


def _rows(found: "FewShot") -> Iterator[tuple[str, ...]]:
    for name, points in found.curves.items():
        at = {point.shots: _cell(point) for point in points}
        yield name, *(at.get(shots, "–") for shots in found.rows)


def _cell(point: "Point") -> str:
    if point.low is None:
        return f"{point.value:.3f}"
    return f"{point.value:.3f} ({point.low:.3f} to {point.high:.3f})"


def _notes(found: "FewShot") -> Iterator[str]:
    if any(point.low is not None for points in found.curves.values() for point in points):
        yield "in brackets: 95 % interval of the mean over the draws (Student's t)"
    else:
        yield "no interval: one draw does not say how much another choice of rows would change"
    yield f"best: {'; '.join(f'{shots} of each class: {name}' for shots, name in found.best().items())}"
    yield from (f"{name}: no figure for {reason}" for name, reason in found.reasons.items())


def _draw(path: Path, found: "FewShot") -> None:
    from classifiers.evaluation.plots import png, shot_curves

    def ends(point: "Point") -> tuple[int, float, float, float]:
        low, high = (point.value if end is None else end for end in (point.low, point.high))
        return point.shots, point.value, low, high

    curves = {name: list(map(ends, points)) for name, points in found.curves.items()}
    path.write_bytes(png(shot_curves(curves)))
