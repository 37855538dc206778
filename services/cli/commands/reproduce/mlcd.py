"""The command that repeats the experiments of MLCD: reproduce mlcd."""

from typing import Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import task_names
from services.cli.options import (
    AcceptOption,
    EncodersOption,
    JsonOption,
    SeedOption,
    SetOption,
    StoreOption,
    TrustOption,
)
from services.cli.reproductions import OutOption, reported

app = typer.Typer()


@app.command()
def mlcd(
    task: Annotated[
        str,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME",
            help="The task whose rows the adapters learn from, and whose labels judge them.",
            autocompletion=task_names,
        ),
    ],
    encoder: EncodersOption = None,
    captions: Annotated[
        str | None,
        typer.Option(
            "--captions",
            metavar="TASK",
            help="A task whose labels are captions, for image-text retrieval.",
            show_default=False,
            autocompletion=task_names,
        ),
    ] = None,
    ablation: Annotated[
        list[str] | None,
        typer.Option(
            "--ablation",
            metavar="NAME",
            help="Run only this table: clusters, nearest, threshold, negatives or loss. Repeat it for several.",
            show_default="all five",
        ),
    ] = None,
    clusters: Annotated[
        list[int] | None,
        typer.Option(
            "--clusters",
            metavar="K",
            min=3,
            help="A number of clusters to try. Repeat it for several; the other tables use the largest.",
            show_default="six, from a 400th of the rows to a quarter, at most 4,096",
        ),
    ] = None,
    nearest: Annotated[
        list[int] | None,
        typer.Option(
            "--nearest",
            metavar="L",
            min=1,
            help="A number of positives to try. Repeat it for several.",
            show_default="1, 2, 4, 8, 16",
        ),
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            "--threshold",
            metavar="COSINE",
            min=-1,
            max=1,
            help="A cosine above which centres are positives. Repeat it for several.",
            show_default="those with 2, 4, 8 and 16 positives on average",
        ),
    ] = None,
    negatives: Annotated[
        list[float] | None,
        typer.Option(
            "--negatives",
            metavar="R",
            min=0,
            max=1,
            help="A share of the centres to draw as negatives. Repeat it for several.",
            show_default="0.01, 0.1, 0.5, 1",
        ),
    ] = None,
    set_: SetOption = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Seeds of each adapter on test rows.")] = 3,
    seed: SeedOption = 0,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Learn from the training rows of all tasks, not only of this one.")
    ] = False,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    out: OutOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat multi-label cluster discrimination on the stored vectors of a task.

    Learns adapters from clusters, without labels, and judges them by nearest neighbours and a linear probe against the
    encoder's own vectors. Values are compared on validation rows, the claims of the paper once on test rows.
    """
    from classifiers.fit.discrimination.recipe import Recipe
    from classifiers.reproduce.mlcd.plan import ABLATIONS, NEAREST, NEGATIVES, Request
    from classifiers.reproduce.mlcd.run import Run
    from services.jobs.texts import text_sides

    if wrong := set(ablation or ()) - set(ABLATIONS):
        raise typer.BadParameter(f"--ablation {wrong.pop()}: give one of {', '.join(ABLATIONS)}")
    request = Request(
        recipe=Recipe.of({"seed": seed, **options.parameters(set_)}),
        clusters=tuple(sorted(set(clusters or ()))),
        nearest=tuple(sorted(set(nearest or NEAREST))),
        thresholds=tuple(sorted(set(threshold or ()), reverse=True)),
        negatives=tuple(sorted(set(negatives or NEGATIVES))),
        ablations=tuple(name for name in ABLATIONS if name in (ablation or ABLATIONS)),
        seeds=seeds,
        everything=all_rows,
    )
    settings = options.settings(
        store=store, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened = options.open_store(settings)
    encoders = list(dict.fromkeys(encoder or ["lite0"]))
    run = Run(opened, task, encoders, request, captions, text_sides(opened, settings))
    with reported("mlcd", lambda: run.reproduction() if run.found else None, out, as_json=as_json) as bar:
        run.all(terminal.steps(bar))
