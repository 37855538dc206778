"""The lines, tables and captions of data sets. A row that cannot be read is counted, and the others are read."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.jobs.annotations.text import open_text
from services.jobs.datasets.dataset import Dataset
from store.errors import BadSource

MOST_CAPTION = 1_000
"""Longest caption, in characters. The longest captions of COCO, Flickr30k and MSR-VTT have a few hundred."""

MAX_LINE = 1 << 20
"""Longest line, in characters. A longer one is another kind of file."""


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of each line that is not blank, without the space around it. Raises BadSource."""
    with open_text(path) as text:
        for number, line in enumerate(iter(lambda: text.readline(MAX_LINE), ""), 1):
            if line.strip():
                yield f"{path}, line {number}", line.strip()


def table(dataset: Dataset, path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield the cells of `columns`, row by row, of a CSV file whose first line names its columns.

    A row with another number of cells than the first line has is counted and left out. Raises BadSource if a column is
    missing.
    """
    with open_text(path) as text:
        rows = csv.reader(text)
        try:
            header = [name.strip() for name in next(rows, [])]
            if lacking := [name for name in columns if name not in header]:
                raise BadSource(f"{path} has no column {', '.join(lacking)}: it is damaged or another file")
            at = [header.index(name) for name in columns]
            for row in filter(any, rows):
                if len(row) == len(header):
                    yield [row[i].strip() for i in at]
                else:
                    dataset.count("rows_damaged", f"{path}, line {rows.line_num}")
        except csv.Error as error:
            raise BadSource(f"{path}, line {rows.line_num}: {error}") from error


def captions(dataset: Dataset, texts: Sequence[object], place: str) -> list[str] | None:
    """Return the captions of one file, in order, each once and with single spaces; None if it has none.

    Values that are empty or not text are counted as damaged, and texts longer than MOST_CAPTION as too long.
    """
    found: list[str] = []
    for text in texts:
        caption = " ".join(text.split()) if isinstance(text, str) else ""
        if not caption:
            dataset.count("rows_damaged", f"{place}: a caption is empty")
        elif len(caption) > MOST_CAPTION:
            dataset.count("captions_too_long", f"{place}: {caption[:40]}…")
        else:
            found.append(caption)
    return list(dict.fromkeys(found)) or None
