"""The command that says what to label next: suggest."""

import shlex
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.completion import head_names
from services.cli.options import (
    EncoderOption,
    HeadsOption,
    JsonOption,
    NamesOnlyOption,
    OverwriteOption,
    SeedOption,
    StoreOption,
)
from services.cli.reviews import Review, ReviewOut, out_file

app = typer.Typer()


@app.command()
def suggest(
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="NAME",
            help="The head whose uncertainty counts: NAME, NAME@ALIAS or NAME@VERSION.",
            show_default="no head; --task then names what is to be labelled",
            autocompletion=head_names,
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many assets to suggest.")] = 20,
    encoder: EncoderOption = "lite0",
    task: Annotated[
        str | None,
        options.task_option("The task that lacks labels. It may be a new one.", "the task that the head learned"),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="SQL",
            help="Suggest only assets that satisfy this condition, for example \"uri LIKE '%/2019/%'\".",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: ReviewOut = None,
    overwrite: OverwriteOption = False,
    names_only: NamesOnlyOption = False,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Suggest which stored assets to label next in a task: those from which a head learns most.

    With --head, they are the ones that the head is uncertain about. All are typical of the unlabelled assets, and no
    two are near-duplicates. Without a head, --encoder and --task suggest the first assets to label.
    """
    from classifiers.published.registry import Registry
    from services.jobs.review.suggest import suggest_first, suggest_for_head

    if head is None and task is None:
        raise typer.BadParameter("give --head NAME, or --task NAME and --encoder NAME for a task without a head")
    file = out_file(out, overwrite)
    settings = options.settings(store=store, heads=heads)
    opened = options.open_store(settings)
    with terminal.progress_bar("suggest") as bar, terminal.stopping_on_sigterm():
        if head is not None:
            published = Registry(settings.heads).load(head)
            found = suggest_for_head(opened, published, count, task, where, seed, bar)
        else:
            found = suggest_first(opened, encoder, task or "", count, where, seed, bar)
    first = found.table.slice(0, 1).to_pylist()
    review = Review(
        found.table,
        found.summary(),
        ("asset", "file", *(("head says", "probability", "uncertainty") if head is not None else ()), "typicality"),
        _suggestion,
        _suggest_notes(found.summary()),
        name="suggestions",
        then=[f"headwater labels set {row['id'][:12]} --task {shlex.quote(found.task)} --label NAME" for row in first],
    )
    review.finish(file, overwrite=overwrite, names_only=names_only, limit=count, as_json=as_json)


def _suggestion(row: dict[str, Any]) -> tuple[str, ...]:
    answer = row["head_labels"]
    said = () if answer is None else (", ".join(answer), f"{row['probability']:.3f}", f"{row['uncertainty']:.3f}")
    return (row["id"][:12], row["path"] or "", *said, f"{row['typicality']:.3f}")


def _suggest_notes(summary: dict[str, Any]) -> Iterator[str]:
    if summary["looked_at"] < summary["unlabelled"]:
        yield f"looked at {summary['looked_at']:,} of {summary['unlabelled']:,} unlabelled assets, drawn at random"
    if not summary["labelled"]:
        yield f"no asset has a label in task {summary['task']} yet: typical assets that are far apart come first"
