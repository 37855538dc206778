"""Commands that fill the store and copy it: ingest, export, import."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import options, quarantine, terminal
from services.cli.options import JsonOption, ModalityOption, StoreOption
from store.errors import BadSource

app = typer.Typer()


@app.command()
def ingest(
    source: Annotated[
        list[str],
        typer.Argument(help="A folder of class folders, a Parquet file, or files.", show_default=False),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", metavar="NAME", help="The task that the labels belong to. Without it, no label is stored."
        ),
    ] = None,
    modality: ModalityOption = None,
    reference: Annotated[bool, typer.Option("--reference", help="Store the path of each file, not its bytes.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store files, and their labels under a task.

    Run it again to add new files; a file moved to another class folder is relabelled.
    """
    from services.jobs import ingest as job
    from store import Store, interchange

    settings = options.settings(store=store)
    opened = Store.open(settings.store, max_file_bytes=settings.max_file_bytes)
    items = interchange.read_sources(source)
    with terminal.progress_bar("ingest") as bar:
        done = job.ingest(
            opened, items, task=task, modality=options.modality(modality), reference=reference, on_progress=bar
        )
    if not done.handled:
        raise BadSource(f"no file in {', '.join(source)}; give a folder of class folders, a Parquet file, or files")
    result = {
        "store": settings.store,
        "new_assets": done.new,
        "known_assets": done.known,
        "labelled": done.labelled,
        "seconds": round(done.seconds, 2),
    }
    quarantine.finish(opened, result, done.failures, as_json=as_json)


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
