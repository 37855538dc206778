"""Commands that copy the store: export, import."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.options import JsonOption, StoreOption

app = typer.Typer()


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="The folder to write.", show_default=False)],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every table of the store into a folder, one Parquet file each."""
    from store import interchange

    rows = interchange.export_parquet(options.open_store(options.settings(store=store)), folder)
    _show_tables({"folder": folder, **rows}, as_json)


@app.command(name="import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A folder that `headwater export` wrote.", show_default=False)],
    trust_references: Annotated[
        bool,
        typer.Option(
            "--trust-references",
            help="Also take assets without their bytes: jobs will read them from the files that the export names.",
        ),
    ] = False,
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            metavar="FOLDER",
            help="With --trust-references, a folder that holds these files; repeat for more.",
            show_default="FOLDER",
        ),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the tables that `export` wrote and add them to the store.

    Assets and vectors that the store has already stay as they are. Everything is checked before anything is written.
    """
    from store import Store, interchange

    if root and not trust_references:
        raise typer.BadParameter("--root needs --trust-references")
    uri = options.settings(store=store).store
    rows = interchange.import_parquet(Store.open(uri), folder, trust_references=trust_references, roots=root or ())
    _show_tables({"store": uri, **rows}, as_json)


def _show_tables(result: dict[str, Any], as_json: bool) -> None:
    """Print the number of rows of every table under its own name, or JSON."""
    if as_json:
        terminal.show(result, as_json=True)
    else:
        terminal.pairs(result)
