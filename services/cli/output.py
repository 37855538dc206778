"""What every command shares: options, settings, tables, progress bars, JSON, exit codes."""

import enum
import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from embedder.spec import MODALITIES, Modality
from services.settings import Settings

PARTIAL = 3
"""Exit code of a command that did its work but had to leave some items out."""


class Engine(enum.StrEnum):
    """Where a job runs: in this process, or on a Ray cluster."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[Engine, typer.Option(help="local: this process; ray: workers on a Ray cluster")]
StoreOption = Annotated[str | None, typer.Option("--store", help="feature store: a folder or any LanceDB URI")]
HeadsOption = Annotated[Path | None, typer.Option("--heads", help="folder of trained heads")]
JsonOption = Annotated[bool, typer.Option("--json", help="print the result as JSON, for scripts")]
EncoderOption = Annotated[str, typer.Option("--encoder", "-e", help="encoder name, e.g. lite0")]
ModalityOption = Annotated[
    str | None,
    typer.Option(help="what the files are: depth, thermal, imu, or video for animations; others show it themselves"),
]
BackendOption = Annotated[str | None, typer.Option("--backend", help="auto, torch or openvino")]
RayAddressOption = Annotated[
    str | None,
    typer.Option("--ray-address", help="of a running Ray cluster; else this machine, for the time of the job"),
]
WorkersOption = Annotated[int | None, typer.Option(help="of engine ray: how many; else as many as there is room for")]
CpusOption = Annotated[int, typer.Option(help="of engine ray: CPUs of each worker")]
GpusOption = Annotated[float, typer.Option(help="of engine ray: GPUs of each worker; may be a fraction")]

AcceptOption = Annotated[
    bool | None,
    typer.Option("--accept-noncommercial", help="your use is not commercial, as ImageBind's licence demands"),
]

out = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)
err = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)


def settings(**options: Any) -> Settings:
    """Settings from the environment, under the options that were given on the command line."""
    return Settings(**{name: value for name, value in options.items() if value is not None})


def modality(text: str | None) -> Modality | None:
    """Raises typer.BadParameter for what is none."""
    found = next((each for each in MODALITIES if each == text), None)
    if text is not None and found is None:
        raise typer.BadParameter(f"--modality {text!r}: give one of {', '.join(MODALITIES)}")
    return found


def show(result: Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """A one-screen summary: key and value a line, or JSON."""
    if as_json:
        print(json.dumps(result, default=str))
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), title=title or None, title_justify="left")
    for key, value in result.items():
        table.add_row(key.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    out.print(table)


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> None:
    made = Table(*columns, title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    out.print(made)


def assignment(text: str) -> tuple[str, Any]:
    """``C=0.5`` → ("C", 0.5): the value is read as JSON, or else is the text itself."""
    from classifiers.compare import candidates
    from classifiers.errors import BadParameter

    try:
        return candidates.assignment(text)
    except BadParameter:
        raise typer.BadParameter(f"--set {text!r}: write name=value, e.g. --set shrinkage=0.1") from None


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A progress bar on standard error; gives the function to move it: (done, total, note)."""
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(what, total=None, note="")
        yield lambda done, total, note: progress.update(bar, completed=done, total=total, note=note)


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what it started is stopped too."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
