"""Commands that show what a person should look at: duplicates, mistakes, suggest."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.completion import head_names, task_names
from services.cli.options import (
    AcceptOption,
    EncoderOption,
    HeadsOption,
    JsonOption,
    SeedOption,
    StoreOption,
    TrustOption,
)

if TYPE_CHECKING:
    import pyarrow as pa

app = typer.Typer()

PROPOSED = "proposed"

ReviewOut = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="The file to write all rows to: .parquet, .csv or .jsonl.",
        show_default="the first rows are printed",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The most rows to print.")]
HeadOption = Annotated[
    str,
    typer.Option(
        "--head", metavar="NAME", help="The head: NAME, NAME@ALIAS or NAME@VERSION.", autocompletion=head_names
    ),
]


@app.command()
def duplicates(
    encoder: EncoderOption = "lite0",
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME",
            help="Compare only the assets that this task labels, and list pairs across its splits first.",
            show_default="all stored vectors, without labels",
            autocompletion=task_names,
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
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List near-duplicates among stored assets: pairs whose vectors are almost equal.

    With --task, pairs across splits come first (a test photo that the head has as good as seen), then pairs with
    different labels, then the others.
    """
    from services.jobs.review.duplicates import find_duplicates

    cosine, file = _threshold(threshold), _file(out, overwrite)
    opened = options.open_store(options.settings(store=store))
    with terminal.progress_bar("duplicates") as bar, terminal.stopping_on_sigterm():
        found = find_duplicates(opened, encoder, task, cosine, bar)
    _finish(
        found.table,
        found.summary(),
        ("kind", "cosine", "a", "b"),
        lambda row: (row["kind"], f"{row['cosine']:.4f}", _described(row, "a"), _described(row, "b")),
        _duplicate_notes(found.summary()),
        file=file,
        overwrite=overwrite,
        limit=limit,
        name="pairs",
        as_json=as_json,
    )


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
        typer.Option(
            "--task",
            "-t",
            metavar="NAME",
            help="The task whose labels are judged.",
            show_default="the task that the head learned",
            autocompletion=task_names,
        ),
    ] = None,
    limit: LimitOption = 50,
    out: ReviewOut = None,
    overwrite: OverwriteOption = False,
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

    file = _file(out, overwrite)
    settings = options.settings(
        store=store, heads=heads, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened, published = options.open_store(settings), Registry(settings.heads).load(head)
    with terminal.progress_bar("mistakes") as bar, terminal.stopping_on_sigterm():
        found = find_mistakes(opened, published, task, text_sides(opened, settings), bar)
    first = found.table.slice(0, 1).to_pylist()
    _finish(
        found.table,
        {"head": f"{published.name}@{published.version}", **found.summary()},
        ("asset", "file", "split", "label", "head says", "probability", "of the label", "likely wrong"),
        _mistake,
        _mistake_notes(found.summary()),
        file=file,
        overwrite=overwrite,
        limit=limit,
        name="mistakes",
        as_json=as_json,
        then=[correction(row, found.task) for row in first],
    )


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


def _file(out: str | None, overwrite: bool) -> Path | None:
    """Return the file to write, checked before the work begins; None to print. Raises BadParameter, OutputExists."""
    from services.jobs.predict.tables import SINKS
    from services.jobs.review.output import require_free

    if out is None:
        return None
    path = Path(out).expanduser()
    if path.suffix.lower() not in SINKS:
        raise typer.BadParameter(f"--out {out}: give a file that ends with {', '.join(SINKS)}")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"--out {out}: the folder {path.parent} does not exist")
    require_free(path, overwrite=overwrite)
    return path


def _finish(
    table: "pa.Table",
    summary: dict[str, Any],
    columns: Sequence[str],
    cells: Any,
    notes: Iterator[str],
    *,
    file: Path | None,
    overwrite: bool,
    limit: int,
    name: str,
    as_json: bool,
    then: Sequence[str] = (),
) -> None:
    """Write the table to the file, or print its first rows; then the summary, the notes and the next command."""
    from services.jobs.review.output import save

    if file is not None:
        save(table, file, overwrite=overwrite)
    shown = [] if file is not None else table.slice(0, limit).to_pylist()
    result = summary | ({} if file is None else {"out": str(file)})
    if as_json:
        terminal.show(result | ({} if file is not None else {name: shown}), as_json=True)
        return
    if shown:
        terminal.table(columns, map(cells, shown), explained=False)
    words = {True: "yes", False: "no"}
    known = {key: words.get(value, value) if isinstance(value, bool) else value for key, value in result.items()}
    terminal.show({key: value for key, value in known.items() if value is not None}, as_json=False)
    cut = [f"the first {limit:,} of {table.num_rows:,} rows; --limit and --out FILE show more"]
    terminal.notes([*(cut if file is None and table.num_rows > limit else ()), *notes])
    for command in then:
        print(f"next: {command}")


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
        typer.Option(
            "--task",
            "-t",
            metavar="NAME",
            help="The task that lacks labels. It may be a new one.",
            show_default="the task that the head learned",
            autocompletion=task_names,
        ),
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
    file = _file(out, overwrite)
    settings = options.settings(store=store, heads=heads)
    opened = options.open_store(settings)
    with terminal.progress_bar("suggest") as bar, terminal.stopping_on_sigterm():
        if head is not None:
            published = Registry(settings.heads).load(head)
            found = suggest_for_head(opened, published, count, task, where, seed, bar)
        else:
            found = suggest_first(opened, encoder, task or "", count, where, seed, bar)
    first = found.table.slice(0, 1).to_pylist()
    _finish(
        found.table,
        found.summary(),
        ("asset", "file", *(("head says", "probability", "uncertainty") if head is not None else ()), "typicality"),
        _suggestion,
        _suggest_notes(found.summary()),
        file=file,
        overwrite=overwrite,
        limit=count,
        name="suggestions",
        as_json=as_json,
        then=[f"headwater labels set {row['id'][:12]} --task {shlex.quote(found.task)} --label NAME" for row in first],
    )


def _suggestion(row: dict[str, Any]) -> tuple[str, ...]:
    answer = row["head_labels"]
    said = () if answer is None else (", ".join(answer), f"{row['probability']:.3f}", f"{row['uncertainty']:.3f}")
    return (row["id"][:12], row["path"] or "", *said, f"{row['typicality']:.3f}")


def _suggest_notes(summary: dict[str, Any]) -> Iterator[str]:
    if summary["looked_at"] < summary["unlabelled"]:
        yield f"looked at {summary['looked_at']:,} of {summary['unlabelled']:,} unlabelled assets, drawn at random"
    if not summary["labelled"]:
        yield f"no asset has a label in task {summary['task']} yet: typical assets that are far apart come first"
