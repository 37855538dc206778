"""The output of `headwater reproduce`: the tables of this store, what they show, the paper's figures, the report."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import terminal

if TYPE_CHECKING:
    from classifiers.reproduce.paper import Reproduction, Table

OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Write the report into this folder.",
        show_default="reproductions/PAPER-TASK-TIME in the current folder",
    ),
]


def finish(found: "Reproduction", out: Path | None, *, as_json: bool) -> None:
    """Write the report and print it; with `as_json`, print the record and the path of the report as JSON."""
    from classifiers.reproduce.page import write

    report = write(found, out or default_folder(found))
    if as_json:
        terminal.show({**found.to_dict(), "report": str(report)}, as_json=True)
        return
    _tables(found.tables)
    for finding in found.findings:
        print(finding)
    terminal.notes(f"not measured: {each}" for each in found.missing)
    print(f"\nPublished (arXiv {found.paper.arxiv}, {found.paper.title}):")
    _tables(found.paper.published)
    print(f"report: {report}")


def default_folder(found: "Reproduction") -> Path:
    """Return a folder that does not exist yet, named after the paper, the task and the time."""
    task = "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in found.task)[:64]
    return Path("reproductions") / f"{found.paper.command}-{task}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def _tables(tables: "Iterable[Table]") -> None:
    for table in tables:
        print()
        terminal.table([title.removeprefix("=") for title in table.columns], table.rows, table.title)
        terminal.notes(table.notes)
    print()
