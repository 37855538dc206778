"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; its cells must be safe, see `cell`."""
    return [line(titles), f"|{'---|' * len(titles)}", *map(line, rows)]


def safe_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells may contain any text."""
    return table(titles, ([cell(text) for text in row] for row in rows))


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(text: str) -> str:
    """Return `text` on one line, with | escaped."""
    return " ".join(text.replace("|", r"\|").split())
