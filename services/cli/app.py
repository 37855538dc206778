"""All commands of `headwater` put together, and what is printed when one fails."""

import importlib.util
import inspect
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from services.cli import errors, terminal
from services.cli.commands import (
    adapt,
    assets,
    backfill,
    classify,
    cluster,
    compare,
    condense,
    demo,
    doctor,
    exports,
    few_shot,
    heads,
    import_vectors,
    ingest,
    keys,
    labels,
    learning_curve,
    predict,
    quarantine,
    reproduce,
    review,
    services,
    store,
    suggest,
    tasks,
    train,
    watch,
)
from services.settings import unknown_variables
from services.web.release import own_version

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would cut the names of options in a narrow terminal
    epilog="Each command has a help page of its own: headwater COMMAND --help.",
)


def _add(commands: typer.Typer, name: str | None = None) -> None:
    """Add commands. In the list of commands, each has the first paragraph of its help, which typer would cut."""
    for command in commands.registered_commands:
        first, _, _ = (inspect.getdoc(command.callback) or "").partition("\n\n")
        command.short_help = " ".join(first.split())
    app.add_typer(commands, name=name)


for family in (
    ingest,
    watch,
    import_vectors,
    backfill,
    labels,
    store,
    train,
    compare,
    learning_curve,
    few_shot,
    heads,
    cluster,
    adapt,
    condense,
    services,
    classify,
    predict,
    review,
    suggest,
    exports,
    demo,
    doctor,
):
    _add(family.app)
_add(labels.labels_app, "labels")
_add(tasks.tasks_app, "tasks")
_add(assets.assets_app, "assets")
_add(quarantine.quarantine_app, "quarantine")
_add(heads.heads_app, "heads")
_add(keys.keys_app, "keys")
_add(reproduce.reproduce_app, "reproduce")


def _versions(wanted: bool) -> None:
    if not wanted:
        return
    torch = f"torch {version('torch')}" if importlib.util.find_spec("torch") else "torch is not installed"
    print(f"headwater {own_version()}, Python {platform.python_version()}, {torch}")
    raise typer.Exit


@app.callback()
def headwater(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - `_versions` reads it
        bool,
        typer.Option(
            "--version",
            callback=_versions,
            is_eager=True,
            help="Print the versions of Headwater, Python and torch, and exit.",
        ),
    ] = False,
) -> None:
    """Embed once, train heads in seconds, serve them over HTTP."""
    if context.invoked_subcommand != "serve":  # a service logs these warnings itself
        for warning in unknown_variables():
            terminal.warn(warning)


def run(failed: Callable[[str], None] = lambda _: None) -> None:
    """Run the command of `sys.argv`. An error that a user can mend is one line, with a hint below it.

    Args:
        failed: called with the message of such an error.
    """
    try:
        app(prog_name="headwater")
    except errors.EXPECTED as error:
        failed(errors.message(error))
        terminal.err.print(f"error: {errors.message(error)}", style="red")
        if hint := errors.hint(error):
            terminal.err.print(f"hint: {hint}")
        sys.exit(1)
