"""The output of `headwater reproduce`: the tables of this store, what they show, the paper's figures, the report."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import terminal
from services.cli.comparisons import folder_name
from services.jobs.progress import JobProgress, OnProgress

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


@contextmanager
def reported(
    name: str, result: "Callable[[], Reproduction | None]", out: Path | None, *, as_json: bool
) -> Iterator[OnProgress[JobProgress]]:
    """Run a study inside the context, then write its report and print it; yields the callback of the progress bar.

    If Ctrl-C or SIGTERM ends the study, the parts that are finished are reported first.

    Args:
        result: returns what is measured so far; None if that is nothing.
        out: folder of the report; None for a new one in the current folder.
    """
    try:
        with terminal.progress_bar(f"reproduce {name}") as bar, terminal.stopping_on_sigterm():
            yield bar
    except KeyboardInterrupt:
        _finish(result(), out, as_json=as_json)
        raise
    _finish(result(), out, as_json=as_json)


def _finish(found: "Reproduction | None", out: Path | None, *, as_json: bool) -> None:
    """Write the report and print it; with `as_json`, print the record and the path of the report as JSON."""
    if found is None:
        return
    from classifiers.reproduce.page import write

    report = write(found, out or Path("reproductions") / f"{found.paper.command}-{folder_name(found.task)}")
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


def _tables(tables: "Iterable[Table]") -> None:
    for table in tables:
        print()
        terminal.table([title.removeprefix("=") for title in table.columns], table.rows, table.title)
        terminal.notes(table.notes)
    print()
