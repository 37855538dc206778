"""Commands about tasks: tasks list, rename, remove."""

from typing import Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import task_names
from services.cli.options import JsonOption, StoreOption

ABOUT = "List tasks, rename them, and remove their labels."
tasks_app = typer.Typer(help=ABOUT, short_help=ABOUT, no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The name of a task.", show_default=False, autocompletion=task_names)]


@tasks_app.command("list")
def list_(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List every task with the number of its labelled assets, its classes and its splits."""
    from store import SPLITS

    opened = options.open_store(options.settings(store=store))
    found = {task: opened.labels.summary(task) for task in opened.labels.tasks()}
    if as_json:
        terminal.show({"tasks": found}, as_json=True)
        return
    rows = [
        (task, f"{each['rows']:,}", each["classes"], *(f"{each['splits'].get(split, 0):,}" for split in SPLITS))
        for task, each in found.items()
    ]
    terminal.table(("task", "labelled", "classes", *SPLITS), rows)


@tasks_app.command()
def rename(
    name: NameArgument,
    new: Annotated[str, typer.Argument(help="Its new name.", show_default=False)],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a task another name. Labels, splits and history stay.

    Heads that learned it keep the old name: `headwater evaluate HEAD --task NEW` measures them.
    """
    rows = options.open_store(options.settings(store=store)).labels.rename_task(name, new)
    terminal.show({"task": new, "labelled": rows}, as_json=as_json)


@tasks_app.command()
def remove(name: NameArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Remove all labels of a task. Assets, vectors and heads stay.

    `headwater undo` takes the change back.
    """
    rows = options.open_store(options.settings(store=store)).labels.remove_task(name, source="tasks remove")
    terminal.show({"task": name, "removed": rows}, as_json=as_json)
