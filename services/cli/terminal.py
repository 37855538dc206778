"""Terminal output of every command: summaries, tables, explanations, JSON, progress bars, warnings, and exit codes.

A name is never cut: text that does not fit the terminal goes to another line.
"""

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.jobs.progress import JobProgress, OnProgress, Step

PARTIAL = 3
"""Exit code of a command that did its work but had to leave some items out."""

GAP = "  "
INDENT = "    "

EXPLAINED = {
    "NLL": "negative log-likelihood: the mean of -log of the probability given to the right answer. Less is better.",
    "ECE": "expected calibration error, 0 to 1: how far stated probabilities are from the share of right answers. "
    "Less is better.",
    "AURC": "area under the risk-coverage curve: the mean error rate when only the most confident rows are answered. "
    "Less is better.",
    "mAP": "mean average precision over the labels, 0 to 1. More is better.",
    "F1@3": "F1 of the 3 most probable labels of each row, 0 to 1. More is better.",
    "micro-F1": "F1 of all decisions counted together, 0 to 1; macro-F1 is the mean F1 of the labels. More is better.",
    "behind by": "accuracy (or mAP) of the best head minus that of this head, in points, with its 95 % interval. "
    "If the interval contains 0, the difference may be chance.",
    "prediction set": "the labels that together contain the right one with the probability --coverage.",
    "outlier percentile": "the percentage of calibration rows that look more ordinary than this file. "
    "Near 100, the file may belong to none of the classes.",
}
"""One sentence for every column that needs one; `table` prints it below."""

NAMES = {"missing": "without a vector"}
"""Names of results for people, where the words of the JSON key are not clear."""

err = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True)


def show(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a result: the words of a key and its value on each line, or JSON."""
    if as_json:
        print(json.dumps(result, default=str))
    else:
        pairs({NAMES.get(key, key.replace("_", " ")): value for key, value in result.items()})


def report(result: Mapping[str, Any], remarks: Sequence[str], then: str = "", *, as_json: bool) -> None:
    """Print a result, the notes on it, and the command that comes next; or the result and its notes as JSON."""
    if as_json:
        print(json.dumps({**result, "notes": list(remarks)}))
        return
    show(result, as_json=False)
    notes(remarks)
    if then:
        print(f"next: {then}")


def notes(remarks: Iterable[str]) -> None:
    """Print each remark on a line of its own."""
    for remark in remarks:
        print(f"note: {remark}")


def pairs(values: Mapping[str, Any]) -> None:
    """Print a name and its value on each line."""
    print("\n".join(_grid([(name, _shown(value)) for name, value in values.items()])))


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " → ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:z,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(columns: Sequence[str], rows: Iterable[Iterable[object]], title: str = "", *, explained: bool = True) -> None:
    """Print a table, and below it what its columns mean. A table wider than the terminal is printed row by row."""
    cells = [[str(cell) for cell in row] for row in rows]
    lines, width = _grid([columns, *cells]), shutil.get_terminal_size().columns
    if sys.stdout.isatty() and max(map(cell_len, lines)) > width:
        lines = [line for row in cells for line in _paragraph(columns, row, width)]
    print("\n".join([*([title] if title else ()), *lines]))
    if explained:
        explain(columns)


def explain(columns: Sequence[str]) -> None:
    """Print what the columns of a table mean."""
    for name in [name for name in EXPLAINED if name in columns]:
        print(f"{name}: {EXPLAINED[name]}")


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pad the cells of each column to the width of its longest one."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [GAP.join(map(_padded, row, widths)).rstrip() for row in rows]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - cell_len(cell))


def _paragraph(columns: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    """Return one row as ``column value`` pairs, filled into lines of `width`. A pair is never broken."""
    lines: list[str] = []
    for pair in (f"{column} {cell}" for column, cell in zip(columns, row, strict=True) if cell):
        if lines and cell_len(lines[-1] + GAP + pair) <= width:
            lines[-1] += GAP + pair
        else:
            lines.append(INDENT + pair if lines else pair)
    return lines


def warn(text: str) -> None:
    err.print(f"warning: {text}", style="bold yellow")


followers: list[OnProgress[JobProgress]] = []
"""Callbacks that get the progress of every bar, for a program that runs a command."""


@contextmanager
def progress_bar(what: str) -> Iterator[OnProgress[JobProgress]]:
    """Show a progress bar if standard error is a terminal; yields the callback that moves it.

    It calls `followers` too.
    """
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(what, total=None, note="")

        def moved(now: JobProgress) -> None:
            progress.update(bar, completed=now.handled, total=now.total, note=now.note)
            for follow in followers:
                follow(now)

        yield moved


def steps(bar: OnProgress[Step]) -> Callable[[int, int | None, str], None]:
    """Return the callback of `classifiers.compare`, which reports three values: done, total, and what is done."""
    return lambda done, total, note: bar(Step(done, total, note))


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that everything it started is stopped too."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
