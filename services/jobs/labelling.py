"""Labels for assets that are stored already, from a file of labels. Every row is checked, then all are written."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from services.jobs.annotations.errors import BadAnnotations
from services.jobs.annotations.matching import LEFT, Matching
from services.jobs.annotations.reading import open_labels
from services.jobs.annotations.survey import OnConflict, Sheet, survey
from services.jobs.annotations.tables import Columns
from store import Store
from store.errors import BadLabels
from store.schema import now

MOST_LABEL = 1000
"""Largest number of characters of a label, as published heads allow."""

SOURCE = "import"
"""Source of labels that an import sets."""


@dataclass(frozen=True, slots=True)
class Relabelled:
    """The result of an import.

    Attributes:
        matching: how the file was read, and how its rows fit the stored assets.
        changed: number of assets whose labels were new or changed.
    """

    matching: Matching
    changed: int


def import_labels(
    store: Store, file: Path, task: str, columns: Columns | None = None, *, on_conflict: OnConflict = "error"
) -> Relabelled:
    """Label stored assets by a file of labels. It is one change, which undo takes back.

    Args:
        columns: columns of a table that are not to be guessed.
        on_conflict: which labels an asset gets if several rows give it different ones.

    Raises BadAnnotations with the place of the first row that belongs to no single asset or has no label, and what
    `services.jobs.annotations.survey.survey` raises. Nothing is written then.
    """
    reader = open_labels(file, columns)
    roots = [str(reader.path.parent)]
    with survey(
        store, task, None, lambda _: None, sheets=[Sheet(reader)], roots=roots, on_conflict=on_conflict
    ) as found:
        matching = cast(Matching, found.matching)  # there is one, because there is a sheet
        _require_all(matching)
        return Relabelled(matching, store.labels.put(task, found.labels(SOURCE), at=now()))


def _require_all(matching: Matching) -> None:
    """Raise BadAnnotations if a row was left out."""
    if said := [LEFT[reason].said(some) for reason, some in matching.left.items() if reason.startswith("rows")]:
        raise BadAnnotations(
            f"{matching.source}: {'; '.join(said)}. Nothing was stored; correct these rows, or remove them"
        )


def check_label(label: str) -> str:
    """Return a label without the spaces around it. Raises BadLabels if it is empty or too long."""
    label = label.strip()
    if not label:
        raise BadLabels("a label is empty")
    if len(label) > MOST_LABEL:
        raise BadLabels(f"a label has {len(label):,} characters, more than the limit of {MOST_LABEL:,}")
    return label
