"""The command that fills the store from files: ingest."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import datasets, options, quarantine, terminal
from services.cli.datasets import FormatOption
from services.cli.options import (
    GroupOption,
    JsonOption,
    ModalityOption,
    OnConflict,
    OnConflictOption,
    StoreOption,
    column,
)
from store.errors import BadSource

if TYPE_CHECKING:
    from services.jobs.annotations.matching import Matching
    from services.jobs.fill import Filled
    from store import Store

app = typer.Typer()

MOST = 20
"""Largest number of classes that the table shows."""


WARNING_HINTS = dict.fromkeys(("no_label", "years", "table"), ("--labels FILE names it",))
"""The option that helps, for the code of a warning."""


SourceArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="A folder of class folders, a Parquet or WebDataset file, or files. May be left out with --labels.",
        show_default="the stored assets",
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="A table of labels (CSV, JSON, JSON lines, Parquet), or an export of COCO, Label Studio or CVAT.",
        show_default="the names of the class folders",
    ),
]


@app.command()
def ingest(
    source: SourceArgument = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", metavar="NAME", help="The task that the labels belong to. Without it, no label is stored."
        ),
    ] = None,
    labels: LabelsOption = None,
    format_: FormatOption = None,
    path_column: Annotated[str | None, column("path", "With --labels: the column with the path or name.")] = None,
    label_column: Annotated[
        str | None,
        column("label", "The column with the label or labels, in --labels or a Parquet SOURCE, for example caption."),
    ] = None,
    split_column: Annotated[
        str | None, column("split", "With --labels: the column with the split; none reads no split.")
    ] = None,
    id_column: Annotated[str | None, column("id", "With --labels: the column with the asset id.")] = None,
    group: GroupOption = None,
    on_conflict: OnConflictOption = OnConflict.ERROR,
    modality: ModalityOption = None,
    reference: Annotated[bool, typer.Option("--reference", help="Store the path of each file, not its bytes.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store files, and their labels under a task.

    Everything is checked before anything is stored. Run it again to add new files; a file moved to another class folder
    is relabelled.
    """
    columns = {"path": path_column, "label": label_column, "split": split_column, "id": id_column}
    _require_together(source, task, labels, columns, format_)
    if group is not None and task is None:
        raise typer.BadParameter("--group needs --task, whose rows have the groups")
    from services.jobs.annotations.tables import Columns
    from services.jobs.fill import Request, fill
    from store import Store

    chosen = None if label_column and labels is None else datasets.choose(source, labels, format_)
    settings = options.settings(store=store)
    opened = Store.open(settings.store, must_exist=not source, max_file_bytes=settings.max_file_bytes)
    request = Request(
        sources=source or () if chosen is None else (),
        task=task,
        labels=labels,
        columns=Columns(**columns),
        group=group,
        on_conflict=on_conflict.value,
        modality=options.modality(modality),
        reference=reference,
    )
    with _listing_conflicts(), terminal.progress_bar("ingest") as bar:
        done = fill(opened, request, bar, sources=chosen.dataset if chosen else None)
    if chosen is not None:
        chosen.require_some(done.ingested.handled)
    if source and not done.ingested.handled:
        raise BadSource(f"no file in {', '.join(source)}; give a folder of class folders, a Parquet file, or files")
    _show(opened, settings.store, done, task, as_json, chosen)
    lost = _left_out(done, task) or (chosen is not None and chosen.dataset.loses)
    raise typer.Exit(terminal.PARTIAL if lost else 0)


def _require_together(
    source: list[str] | None,
    task: str | None,
    labels: Path | None,
    columns: Mapping[str, str | None],
    format_: str | None,
) -> None:
    """Raise typer.BadParameter for an option without another one that it needs."""
    if labels is None and any(given for name, given in columns.items() if name != "label"):
        raise typer.BadParameter("a column needs --labels, which names the table")
    if labels is None and columns["label"] and not (source and task and format_ is None):
        raise typer.BadParameter("--label-column needs --labels, or a Parquet SOURCE with --task and without --format")
    if labels is not None and task is None:
        raise typer.BadParameter("--labels needs --task, to which the labels belong")
    if not source and labels is None:
        raise typer.BadParameter("give a SOURCE, or --labels for assets that are stored")


def _show(
    store: "Store", uri: str, done: "Filled", task: str | None, as_json: bool, chosen: datasets.Chosen | None
) -> None:
    """Print how everything was understood, what was stored, and the classes; or JSON. Warnings go to standard error."""
    captions = done.captions or bool(chosen and chosen.dataset.captions and any(done.classes))
    result: dict[str, Any] = {
        "store": uri,
        "new_assets": done.ingested.new,
        "known_assets": done.ingested.known,
        "labelled": done.ingested.labelled,
        "seconds": round(done.ingested.seconds, 2),
    }
    if as_json:
        result |= _as_json(done, captions) | (chosen.as_json() if chosen else {})
    else:
        if chosen:
            chosen.show()
        _show_matching(done)
        result |= {"skipped": _counts(done.junk)} if done.junk else {}
    quarantine.show(store, result, done.ingested.failures, as_json=as_json)
    if not as_json and task is not None:
        if captions:
            _show_captions(store, task, guessed=chosen is None)
        else:
            _show_classes(task, done)
    for warning in done.warnings:
        terminal.warn("; ".join([warning.text, *WARNING_HINTS.get(warning.code, ())]))


@contextmanager
def _listing_conflicts() -> Iterator[None]:
    """Print the contents with several labels before the error about them, which names the first one only."""
    from services.jobs.annotations.errors import Conflicts

    try:
        yield
    except Conflicts as error:
        for example in error.examples:
            terminal.err.print(f"  {example}")
        raise


def _left_out(done: "Filled", task: str | None) -> bool:
    lost = [reason for reason in (done.matching.left if done.matching else ()) if reason.startswith("rows")]
    unnamed = any(warning.code == "unnamed_class" for warning in done.warnings)
    return bool(done.ingested.quarantined or lost or unnamed or (task is not None and not any(done.classes)))


def _counts(junk: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(junk.items()))


def _as_json(done: "Filled", captions: bool) -> dict[str, Any]:
    """Return how everything was understood. Captions are no classes, and as many as they are, they are not listed."""
    matching = done.matching and {
        "file": done.matching.source,
        "understood": done.matching.understood,
        "rows": done.matching.rows,
        "matched": done.matching.matched,
        "by": done.matching.by,
        **{reason: {"count": some.count, "example": some.example} for reason, some in done.matching.left.items()},
    }
    return {
        "labels": matching,
        "captions": captions,
        "classes": {} if captions else done.classes,
        "conflicts": {"count": done.conflicts, "examples": done.examples},
        "skipped": dict(done.junk),
        "warnings": [warning._asdict() for warning in done.warnings],
    }


def _show_matching(done: "Filled") -> None:
    """Print how the file of labels was read, what was left out of it, and the contents with several labels."""
    if done.matching is not None:
        for line in _lines(done.matching):
            print(line)
    if done.conflicts:
        print(f"the same content is under different labels or splits {done.conflicts:,} times:")
        for example in done.examples:
            print(f"  {example}")


def _lines(found: "Matching") -> list[str]:
    from services.jobs.annotations.matching import LEFT

    by = f"{found.matched:,} of {found.rows:,} rows matched by {found.by}"
    first = f"{Path(found.source).name}: {found.understood}; {by}"
    return [first, *(f"  {LEFT[reason].said(some)}" for reason, some in found.left.items())]


def _show_captions(store: "Store", task: str, *, guessed: bool) -> None:
    """Print the number of captions and files of a task, how they were recognised, and what captions are for."""
    told = store.labels.summary(task)
    splits = ", ".join(f"{split} {rows:,}" for split, rows in sorted(told["splits"].items()))
    print(f"task {task}: {told['classes']:,} captions of {told['rows']:,} files ({splits})")
    sign = "the labels look like captions: several words each, and nearly all different. " if guessed else ""
    terminal.notes(
        [f"{sign}Captions are no classes; `headwater reproduce clip-decoder` and `mlcd` read them: --captions {task}"]
    )


def _show_classes(task: str, done: "Filled") -> None:
    """Print the number of rows of each class in each split."""
    from store.schema import SPLITS

    splits = [split for split in SPLITS if any(split in counts for counts in done.classes.values())]
    rows = [
        (
            label or "(none of the labels)",
            *(f"{counts.get(split, 0):,}" for split in splits),
            f"{sum(counts.values()):,}",
        )
        for label, counts in done.classes.items()
    ]
    classes = [label for label in done.classes if label]
    title = f"task {task}: {len(classes):,} {'class' if len(classes) == 1 else 'classes'}"
    if rows:
        terminal.table(["class", *splits, "all"], rows[:MOST], title)
    if len(rows) > MOST:
        print(f"and {len(rows) - MOST:,} smaller classes; the smallest is {rows[-1][0]} with {rows[-1][-1]}")
