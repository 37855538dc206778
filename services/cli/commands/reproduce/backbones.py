"""The command that fuses several encoders by every rule of two papers: reproduce backbones."""

import enum
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import encoder_names
from services.cli.options import AcceptOption, JsonOption, SeedOption, StoreOption, TaskOption, TrustOption
from services.cli.reproductions import OutOption, reported

if TYPE_CHECKING:
    from services.jobs.texts import TextSides
    from store import Store

app = typer.Typer()


class RuleRows(enum.StrEnum):
    """The rows on which the rules are fitted."""

    TENTH = "tenth"
    FOLDS = "folds"


@app.command()
def backbones(
    task: TaskOption,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            "-e",
            metavar="NAME",
            help="An encoder whose stored vectors are fused. Repeat it for two or more.",
            show_default="all encoders with vectors of the training rows",
            autocompletion=encoder_names,
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option("--draws", metavar="N", min=1, help="Random draws of the rows on which the rules are fitted."),
    ] = 5,
    rule_rows: Annotated[
        RuleRows,
        typer.Option(
            "--rule-rows",
            metavar="ROWS",
            help="Fit the rules on a tenth of the training rows, which the probes do not see (tenth), or on "
            "out-of-fold scores of all of them (folds).",
        ),
    ] = RuleRows.TENTH,
    cost: Annotated[
        list[float] | None,
        typer.Option(
            "--cost",
            metavar="N",
            help="Cost of an encoder in GFLOPs. Repeat it for each --encoder, in their order.",
            show_default="the time that an image takes here, or the width of the vectors",
        ),
    ] = None,
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Load no encoder: leave the zero-shot scores out.")
    ] = False,
    seed: SeedOption = 0,
    out: OutOption = None,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fuse several encoders by every rule of arXiv 2312.14400 and 2405.17139, on zero-shot scores and linear probes.

    Prints each encoder alone, every rule with its gain over the best encoder, the oracle, and what fusing costs, beside
    the papers' figures, and writes a report. Nothing is published.
    """
    from classifiers.reproduce.backbones.study import Study
    from services.jobs.texts import text_sides

    settings = options.settings(
        store=store, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened = options.open_store(settings)
    names, sides = encoder or _encoders(opened, task), None if no_texts else text_sides(opened, settings)
    costs, unit = _costs(opened, names, cost, sides)
    study = Study.prepare(
        opened, task, names, costs=costs, unit=unit, draws=draws, rule_rows=rule_rows, seed=seed, texts=sides
    )
    with reported("backbones", lambda: study.result() if study.finished else None, out, as_json=as_json) as bar:
        study.run(terminal.steps(bar))


def _encoders(store: "Store", task: str) -> list[str]:
    from classifiers.training.rows.present import encoders_of_training_rows

    return list(encoders_of_training_rows(store, task)[0])


def _costs(
    store: "Store", names: list[str], given: list[float] | None, sides: "TextSides | None"
) -> tuple[list[float], str]:
    """Return the cost of each encoder and its unit. Raises typer.BadParameter for another number of costs."""
    from services.jobs.encoder_costs import encoder_costs

    if not given:
        return encoder_costs(store, names, sides)
    if len(given) != len(names):
        raise typer.BadParameter(f"--cost: give one for each of {', '.join(names)}; got {len(given)}")
    return given, "GFLOPs"
