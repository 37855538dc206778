"""The record of a run: one JSON file that grows row by row, and the tables that are printed from it."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass
class Record:
    """A JSON file ``{"machine": {…}, "parts": {name: {"done": bool, "seconds": s, "rows": [row, …]}}}``.

    Every change is written at once, so a run that is cut off keeps what it measured.
    """

    path: Path
    content: dict[str, Any] = field(default_factory=lambda: {"machine": {}, "parts": {}})

    @classmethod
    def of(cls, path: Path) -> "Record":
        return cls(path, json.loads(path.read_text())) if path.exists() else cls(path)

    def part(self, name: str) -> dict[str, Any]:
        part: dict[str, Any] = self.content["parts"].setdefault(name, {"done": False, "seconds": 0.0, "rows": []})
        return part

    def rows(self, name: str) -> list[Row]:
        rows: list[Row] = self.part(name)["rows"]
        return rows

    def write(self) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self.content, indent=1))
        os.replace(fresh, self.path)


class Clock:
    """A part's time budget, and the rows that it has measured so far."""

    def __init__(self, record: Record, part: str, seconds: float) -> None:
        self._record, self._part, self._deadline = record, part, time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the budget is spent."""
        return self._deadline - time.monotonic()

    def measured(self, **facts: Any) -> bool:
        """True if a row with these facts was measured already, perhaps by an earlier run that was cut off."""
        return any(facts.items() <= row.items() for row in self._record.rows(self._part))

    def rows_of(self, part: str) -> list[Row]:
        """Return the rows of any part, e.g. to relate a figure to a ceiling."""
        return self._record.rows(part)

    def forget(self, **facts: Any) -> None:
        """Remove the rows with these facts, which a run that was cut off left incomplete."""
        rows = self._record.rows(self._part)
        rows[:] = [row for row in rows if not facts.items() <= row.items()]

    def add(self, **row: Any) -> None:
        """Add a row and write the record. Numbers are rounded to five significant digits."""
        self._record.rows(self._part).append({name: _rounded(value) for name, value in row.items()})
        self._record.write()
        print("  " + "  ".join(f"{name} {shown(value)}" for name, value in row.items()), flush=True)


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def shown(value: Any) -> str:
    """Return a value as tables show it: numbers with four digits, or without decimals if they are large."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def table(rows: list[Row]) -> str:
    """Return rows as a Markdown table: a column for each name, in the order in which names appear."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([shown(row[name]) if name in row else "" for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def find(rows: list[Row], **facts: Any) -> Mapping[str, Any] | None:
    """Return the first row with these facts, or None."""
    return next((row for row in rows if facts.items() <= row.items()), None)
