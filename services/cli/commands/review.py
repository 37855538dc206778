"""Commands that show what may be wrong in a store: duplicates and mistakes."""

import shlex
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.options import (
    AcceptOption,
    EncoderOption,
    HeadsOption,
    JsonOption,
    NamesOnlyOption,
    OverwriteOption,
    StoreOption,
    TrustOption,
)
from services.cli.reviews import HeadOption, LimitOption, Review, ReviewOut, out_file

app = typer.Typer()

PROPOSED = "proposed"


@app.command()
def duplicates(
    encoder: EncoderOption = "lite0",
    task: Annotated[
        str | None,
        options.task_option(
            "Compare only the assets that this task labels, and list pairs across its splits first.",
            "all stored vectors, without labels",
        ),
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            "--threshold",
            metavar="X",
            help="The cosine, above 0 and at most 1, from which two vectors count as near-duplicates; proposed takes "
            "it from the distances between the vectors.",
        ),
    ] = PROPOSED,
    limit: LimitOption = 50,
    out: ReviewOut = None,
    overwrite: OverwriteOption = False,
    names_only: NamesOnlyOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List near-duplicates among stored assets: pairs whose vectors are almost equal.

    With --task, pairs across splits come first (a test photo that the head has as good as seen), then pairs with
    different labels, then the others.
    """
    from services.jobs.review.duplicates import find_duplicates

    cosine, file = _threshold(threshold), out_file(out, overwrite)
    opened = options.open_store(options.settings(store=store))
    with terminal.progress_bar("duplicates") as bar, terminal.stopping_on_sigterm():
        found = find_duplicates(opened, encoder, task, cosine, bar)
    review = Review(
        found.table,
        found.summary(),
        ("kind", "cosine", "a", "b"),
        lambda row: (row["kind"], f"{row['cosine']:.4f}", _described(row, "a"), _described(row, "b")),
        _duplicate_notes(found.summary()),
        name="pairs",
    )
    review.finish(file, overwrite=overwrite, names_only=names_only, limit=limit, as_json=as_json)


def _threshold(text: str) -> float | None:
    """Return the cosine; None to propose one. Raises typer.BadParameter."""
    if text == PROPOSED:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise typer.BadParameter(f"--threshold {text}: give a cosine above 0 and at most 1, or {PROPOSED}")
    return value


def _described(row: dict[str, Any], side: str) -> str:
    """Return one asset of a pair: its file, its split and its labels."""
    labels, split = row[f"labels_{side}"], row[f"split_{side}"]
    more = f" ({split}: {', '.join(labels) or 'no label'})" if labels is not None else ""
    return f"{row[f'path_{side}'] or row[f'id_{side}'][:12]}{more}"


def _duplicate_notes(summary: dict[str, Any]) -> Iterator[str]:
    if summary["proposed"]:
        yield (
            "the threshold was proposed: a near-duplicate is nearer than a quarter of the median distance "
            "(1 - cosine) of a vector to its tenth neighbour; --threshold sets another one"
        )
    if summary.get("across_splits"):
        yield (
            "a held-out row with a near-duplicate in train makes figures too good; "
            "`headwater labels set ASSET --task TASK --label NAME --split train --move-split` moves it, "
            "`headwater assets remove ASSET` removes it"
        )
    if summary["without_a_vector"]:
        yield f"{summary['without_a_vector']:,} assets have no vector; `headwater backfill` embeds them"


@app.command()
def mistakes(
    head: HeadOption,
    task: Annotated[
        str | None,
        options.task_option("The task whose labels are judged.", "the task that the head learned"),
    ] = None,
    limit: LimitOption = 50,
    out: ReviewOut = None,
    overwrite: OverwriteOption = False,
    names_only: NamesOnlyOption = False,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List labelled assets whose label and head disagree, those that are most likely wrong first.

    Rows that the head learned from are judged by heads that did not learn from them (cross-validation with the same
    settings), so a wrong label in the training rows is found too. Nothing is changed.
    """
    from classifiers.published.registry import Registry
    from services.jobs.review.mistakes import find_mistakes
    from services.jobs.texts import text_sides

    file = out_file(out, overwrite)
    settings = options.settings(
        store=store, heads=heads, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened, published = options.open_store(settings), Registry(settings.heads).load(head)
    with terminal.progress_bar("mistakes") as bar, terminal.stopping_on_sigterm():
        found = find_mistakes(opened, published, task, text_sides(opened, settings), bar)
    first = found.table.slice(0, 1).to_pylist()
    review = Review(
        found.table,
        {"head": f"{published.name}@{published.version}", **found.summary()},
        ("asset", "file", "split", "label", "head says", "probability", "of the label", "likely wrong"),
        _mistake,
        _mistake_notes(found.summary()),
        name="mistakes",
        then=[correction(row, found.task) for row in first],
    )
    review.finish(file, overwrite=overwrite, names_only=names_only, limit=limit, as_json=as_json)


def correction(row: dict[str, Any], task: str) -> str:
    """Return the command that gives a row of mistakes the labels of the head."""
    if not row["head_labels"]:
        return f"headwater labels remove {row['id'][:12]} --task {shlex.quote(task)}"
    labels = " ".join(f"--label {shlex.quote(label)}" for label in row["head_labels"])
    return f"headwater labels set {row['id'][:12]} --task {shlex.quote(task)} {labels}"


def _mistake(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["id"][:12],
        row["path"] or "",
        row["split"],
        ", ".join(row["labels"]),
        ", ".join(row["head_labels"]) or "no label",
        f"{row['probability']:.3f}",
        f"{row['self_confidence']:.3f}",
        "yes" if row["likely_wrong"] else "",
    )


def _mistake_notes(summary: dict[str, Any]) -> Iterator[str]:
    yield (
        "likely wrong: the head is at least as sure of its answer as it is on average of rows with that label "
        "(confident learning); look at each before you change it"
    )
    if summary["not_judged"]:
        yield (
            f"{summary['not_judged']:,} labelled rows were not judged: they have no vector or a class that the head "
            "does not know, or no head could be learned without them"
        )
    if not summary["at_snapshot"]:
        yield "the rows that the head learned from cannot be read any more, so heads learned from the rows of today"
