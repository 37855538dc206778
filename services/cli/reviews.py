"""The tables that reviews of a store print or write, and the options that they share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import terminal
from services.cli.completion import head_names

if TYPE_CHECKING:
    import pyarrow as pa

ReviewOut = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="The file to write all rows to: .parquet, .csv or .jsonl.",
        show_default="the first rows are printed",
    ),
]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The most rows to print.")]
HeadOption = Annotated[
    str,
    typer.Option(
        "--head", metavar="NAME", help="The head: NAME, NAME@ALIAS or NAME@VERSION.", autocompletion=head_names
    ),
]


def out_file(out: str | None, overwrite: bool) -> Path | None:
    """Return the file to write, checked before the work begins; None to print. Raises BadParameter, OutputExists."""
    from services.jobs.out_file import require_free
    from services.jobs.predict.tables import SINKS

    if out is None:
        return None
    path = Path(out).expanduser()
    if path.suffix.lower() not in SINKS:
        raise typer.BadParameter(f"--out {out}: give a file that ends with {', '.join(SINKS)}")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"--out {out}: the folder {path.parent} does not exist")
    require_free(path, overwrite=overwrite)
    return path


@dataclass(frozen=True, slots=True)
class Review:
    """The result of a review.

    Attributes:
        table: all rows.
        summary: figures, by name.
        columns: names of the printed columns.
        cells: a row of the table → its printed cells.
        notes: remarks for people.
        name: key of the rows in JSON.
        then: the commands that come next.
    """

    table: "pa.Table"
    summary: Mapping[str, Any]
    columns: Sequence[str]
    cells: Callable[[dict[str, Any]], Sequence[str]]
    notes: Iterable[str]
    name: str
    then: Sequence[str] = ()

    def finish(self, file: Path | None, *, overwrite: bool, names_only: bool, limit: int, as_json: bool) -> None:
        """Write all rows to a file, or print the first `limit`; then the summary, the notes and the next commands."""
        from services.jobs.review import output

        table = output.names_only(self.table) if names_only else self.table
        if file is not None:
            output.save(table, file, overwrite=overwrite)
        shown = [] if file is not None else table.slice(0, limit).to_pylist()
        result = {**self.summary, **({} if file is None else {"out": str(file)})}
        if as_json:
            terminal.show(result | ({} if file is not None else {self.name: shown}), as_json=True)
            return
        if shown:
            terminal.table(self.columns, map(self.cells, shown), explained=False)
        words = {True: "yes", False: "no"}
        known = {key: words[value] if isinstance(value, bool) else value for key, value in result.items()}
        terminal.show({key: value for key, value in known.items() if value is not None}, as_json=False)
        rows = self.table.num_rows
        cut = [f"the first {limit:,} of {rows:,} rows; --limit and --out FILE show more"]
        terminal.notes([*(cut if file is None and rows > limit else ()), *self.notes])
        for command in self.then:
            print(f"next: {command}")
