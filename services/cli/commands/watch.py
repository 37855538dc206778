"""The command that stores and embeds what appears in a folder: watch."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal
from services.cli.options import (
    AcceptOption,
    BackendOption,
    EncoderOption,
    JsonOption,
    ModalityOption,
    StoreOption,
    TrustOption,
)
from store.errors import BadSource

if TYPE_CHECKING:
    from services.jobs.watch import Round

app = typer.Typer()


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="The folder of class folders to watch.", show_default=False)],
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", metavar="NAME", help="The task that the labels belong to. Without it, no label is stored."
        ),
    ] = None,
    encoder: EncoderOption = "lite0",
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, help="The time between two listings of the folder.")
    ] = 2.0,
    modality: ModalityOption = None,
    reference: Annotated[bool, typer.Option("--reference", help="Store the path of each file, not its bytes.")] = False,
    backend: BackendOption = None,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store and embed what appears in a folder, until Ctrl-C.

    A file that is still being written is left until it stays as it is.
    """
    from embedder import registry
    from services.jobs.backfill.local import backfill
    from services.jobs.fill import Request
    from services.jobs.watch import watch as rounds
    from store import Store

    _require_class_folders(folder)
    settings = options.settings(
        store=store, backend=backend, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened = Store.open(settings.store, max_file_bytes=settings.max_file_bytes)
    model = registry.load(encoder, **settings.loading)
    request = Request(sources=[folder], task=task, modality=options.modality(modality), reference=reference)

    def embed() -> int:
        return backfill(opened, model, batch=settings.max_batch, limits=settings.limits).done

    terminal.err.print(f"watching {folder}; Ctrl-C stops")
    with terminal.stopping_on_sigterm():
        for done in rounds(opened, request, embed, every=every):
            _show_round(done, as_json)


def _require_class_folders(folder: Path) -> None:
    """Raise BadSource for what is no folder, and for a published data set, whose folders name no labels."""
    from services.jobs.datasets.formats import recognised

    if not folder.is_dir():
        raise BadSource(f"{folder} is not a folder; give a folder of class folders")
    if found := recognised(folder.absolute()):
        raise BadSource(
            f"{folder} holds a published data set of the format {found}, whose labels are in its own files: store it "
            "with `headwater ingest`, or watch a folder inside it"
        )


def _show_round(done: "Round", as_json: bool) -> None:
    """Print a round in one line, and the files that were refused."""
    found = done.ingested
    counts = {"new": found.new, "known": found.known, "labelled": found.labelled, "embedded": done.embedded}
    counts["quarantined"] = found.quarantined
    if as_json:
        print(json.dumps(counts | {"refused": done.refused}), flush=True)
    else:
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        print(f"{time.strftime('%H:%M:%S')}  {said or 'nothing new'}", flush=True)
        for path, reason in done.refused.items():
            terminal.warn(f"{path}: {reason}")
