"""Commands about labels: labels list, set, remove, import, history, and undo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.completion import task_names
from services.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from store.schema import LabelRow

app = typer.Typer()
ABOUT = "List labels, set and remove them, and show what they were before."
labels_app = typer.Typer(help=ABOUT, short_help=ABOUT, no_args_is_help=True)

HAND = "hand"
"""Source of labels that a command sets."""

LabelsTask = Annotated[
    str,
    typer.Option("--task", "-t", metavar="NAME", help="The task of the labels.", autocompletion=task_names),
]
AnyTask = Annotated[
    str | None,
    options.task_option("Only labels of this task.", "all tasks"),
]
AssetsArgument = Annotated[
    list[str],
    typer.Argument(
        help="Stored assets: ids, at least 6 of their first digits, paths, or file names.",
        show_default=False,
    ),
]
AssetArgument = Annotated[
    str,
    typer.Argument(
        help="A stored asset: its id, at least 6 of its first digits, its path, or its file name.", show_default=False
    ),
]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The most rows to print.")]
StartOption = Annotated[int, typer.Option("--start", metavar="N", min=0, help="The number of rows to skip.")]


@labels_app.command("list")
def list_(
    task: LabelsTask,
    label: Annotated[
        str | None, typer.Option("--label", "-l", metavar="NAME", help="Only assets with this label.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Only this split: train, val, test or ood.")
    ] = None,
    start: StartOption = 0,
    limit: LimitOption = 50,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the labels of a task, each with its asset, its split, its source and its time."""
    opened = options.open_store(options.settings(store=store))
    count, rows = opened.labels.page(task, label=label, split=split, start=start, rows=limit)
    uris = {asset.id: asset.uri for asset in opened.assets.get(sorted(opened.assets.exists([r.id for r in rows])))}
    if as_json:
        found = [{**_row(row), "uri": uris.get(row.id)} for row in rows]
        terminal.show({"task": task, "count": count, "labels": found}, as_json=True)
        return
    lines = [
        (row.id[:12], " | ".join(row.labels), row.split, row.source, f"{row.at:%F %T}", uris.get(row.id, ""))
        for row in rows
    ]
    terminal.table(("asset", "labels", "split", "source", "at", "file"), lines)
    if len(rows) < count:
        print(f"{len(rows):,} of {count:,} rows; --limit and --start choose others")


@labels_app.command("set")
def set_(
    asset: AssetsArgument,
    task: LabelsTask,
    label: Annotated[
        list[str],
        typer.Option("--label", "-l", metavar="NAME", help="The label. Repeat it for several labels of each asset."),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="NAME",
            help="The split of assets that have none in this task yet: train, val, test or ood.",
            show_default="drawn by a hash of the asset",
        ),
    ] = None,
    move_split: Annotated[
        bool,
        typer.Option("--move-split", help="Move assets that have another split already. Older figures then mislead."),
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give stored assets labels, in the place of those that they have in the task.

    An asset keeps its split. `headwater undo` takes the change back.
    """
    from services.jobs.labelling import check_label
    from store import Label

    if move_split and split is None:
        raise typer.BadParameter("--move-split needs --split")
    opened = options.open_store(options.settings(store=store))
    labels = list(map(check_label, label))
    ids = [opened.assets.find(each) for each in asset]
    rows = [Label(id_, labels, split, HAND) for id_ in ids]
    changed = opened.labels.put(task, rows, move_splits=move_split)
    terminal.show({"task": task, "labels": " | ".join(labels), "assets": len(ids), "changed": changed}, as_json=as_json)


@labels_app.command()
def remove(asset: AssetsArgument, task: LabelsTask, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Remove the labels of stored assets in a task. The assets stay.

    `headwater undo` takes the change back. An asset that gets labels again gets its split back too.
    """
    opened = options.open_store(options.settings(store=store))
    ids = [opened.assets.find(each) for each in asset]
    opened.labels.page(task, rows=1)  # raises UnknownTask
    removed = opened.labels.remove(task, ids, source=HAND)
    terminal.show({"task": task, "assets": len(ids), "removed": removed}, as_json=as_json)


@labels_app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A table of labels (CSV, JSON, JSON lines, Parquet), or an export of COCO, Label Studio or CVAT.",
            show_default=False,
        ),
    ],
    task: LabelsTask,
    path_column: Annotated[str | None, options.column("path", "The column with the path or name.")] = None,
    label_column: Annotated[str | None, options.column("label", "The column with the label or labels.")] = None,
    split_column: Annotated[
        str | None, options.column("split", "The column with the split; none reads no split.")
    ] = None,
    id_column: Annotated[str | None, options.column("id", "The column with the asset id.")] = None,
    group: options.GroupOption = None,
    on_conflict: options.OnConflictOption = options.OnConflict.ERROR,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Label stored assets by a file of labels.

    Every row is checked before anything is written. It is one change, which `headwater undo` takes back.
    """
    from services.jobs.annotations.tables import Columns
    from services.jobs.labelling import import_labels

    opened = options.open_store(options.settings(store=store))
    columns = Columns(path_column, label_column, split_column, id_column, group)
    done = import_labels(opened, file, task, columns, on_conflict=on_conflict.value)
    matching = done.matching
    result = {"task": task, "read": matching.understood, "rows": matching.rows, "matched_by": matching.by}
    terminal.show({**result, "changed": done.changed}, as_json=as_json)


@labels_app.command()
def history(asset: AssetArgument, task: AnyTask = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List all labels that an asset has and had, the oldest first."""
    opened = options.open_store(options.settings(store=store))
    id_ = opened.assets.find(asset)
    rows = opened.labels.of(id_, task)
    if as_json:
        terminal.show({"id": id_, "history": list(map(_row, rows))}, as_json=True)
        return
    lines = [(row.task, " | ".join(row.labels), row.split, row.source, f"{row.at:%F %T}", _end(row)) for row in rows]
    terminal.table(("task", "labels", "split", "source", "from", "until"), lines, f"asset {id_}")


@app.command()
def undo(task: AnyTask = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Take the last change of labels back: of a command, of a person, or of a whole ingest.

    Run it again to take back the change before it. Assets and vectors stay.
    """
    from store.tables.undo import undo as take_back

    done = take_back(options.open_store(options.settings(store=store)).labels, task)
    result = {
        "change_of": f"{done.at:%F %T} UTC",
        "tasks": ", ".join(done.tasks),
        "source": ", ".join(done.sources),
        "restored": done.restored,
        "unlabelled_again": done.removed,
    }
    terminal.show(result, as_json=as_json)


def _row(row: "LabelRow") -> dict[str, Any]:
    """Return a row in values that JSON can hold."""
    found = {name: getattr(row, name) for name in ("id", "task", "labels", "split", "source")}
    ended = {"until": row.until.isoformat(), "by": row.by, "undone": row.undone} if row.until else {"until": None}
    return {**found, "at": row.at.isoformat(), **ended}


def _end(row: "LabelRow") -> str:
    return f"{row.until:%F %T} ({row.by or 'no source'})" if row.until else "now"
