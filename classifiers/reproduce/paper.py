"""What a reproduction is: the paper, the same tables measured on a store, and what they say."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from classifiers.evaluation.html import Picture
from store import Snapshot


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose cells are ready to be shown.

    Attributes:
        columns: titles; a title that starts with = is of a column of numbers, see `html.table`.
        rows: one text for each column.
        notes: sentences below the table: what a column means, where the rows come from.
        best: number of the row to mark; None for no row.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    best: int | None = None

    def __post_init__(self) -> None:
        if wrong := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"a row has {len(wrong[0])} cells for {len(self.columns)} columns: {wrong[0]}")


@dataclass(frozen=True, slots=True)
class Paper:
    """A published experiment.

    Attributes:
        command: name of the experiment, a word of `headwater reproduce`.
        arxiv: number of the paper on arXiv.
        published: the figures that the paper, its code or a reader of it printed; the notes say which.
    """

    command: str
    arxiv: str
    title: str
    published: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The experiment of a paper, measured on the rows of one task.

    Attributes:
        tables: the paper's tables with the figures of this store.
        findings: sentences that say what the tables show, also where they contradict the paper.
        missing: sentences on parts of the experiment that could not be measured, and why.
        figures: every figure of the tables, JSON-serialisable, for programs.
        settings: what was asked for: seeds, grids, folds; JSON-serialisable.
    """

    paper: Paper
    task: str
    encoders: tuple[str, ...]
    snapshot: Snapshot
    settings: Mapping[str, Any]
    tables: tuple[Table, ...]
    findings: tuple[str, ...]
    missing: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the pictures as JSON-serialisable values."""
        return {
            "paper": asdict(self.paper),
            "task": self.task,
            "encoders": list(self.encoders),
            "snapshot": json.loads(self.snapshot.to_json()),
            "settings": dict(self.settings),
            "tables": [asdict(each) for each in self.tables],
            "findings": list(self.findings),
            "missing": list(self.missing),
            "figures": dict(self.figures),
        }
