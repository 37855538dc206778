"""Figures by group (speaker, patient, site, camera): how good a head is on each, and on groups that it never saw."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from classifiers.evaluation.tables import safe_table

MOST_GROUPS = 40
"""Maximum number of groups in the Markdown, worst first; the JSON has all groups."""

NO_GROUPS = (
    "No groups are known: if several rows come from one speaker, patient, site or camera, expect lower figures on new "
    "ones."
)


@dataclass(frozen=True, slots=True)
class GroupFigure:
    """The figure of a head on the rows of one group, in 0…1.

    Attributes:
        trained: True if the head learned from other rows of this group.
    """

    group: str
    rows: int
    value: float
    trained: bool


@dataclass(frozen=True, slots=True)
class GroupReport:
    """Figures of a head by group.

    Attributes:
        groups: number of groups of the training rows.
        figure: name of the figure of a row: "accuracy", or "F1" of its labels.
        folds: figure of held-out training rows by what a fold held out, "rows" or "groups"; empty if not measured.
        fold_figure: name of that figure, "accuracy" or "mAP".
        splits: figures of each group, worst first, by split.
    """

    groups: int
    figure: str
    folds: Mapping[str, float]
    fold_figure: str
    splits: Mapping[str, Sequence[GroupFigure]]

    def notes(self) -> Iterator[str]:
        """Yield what a reader must know, one sentence or two each."""
        if self.folds:
            yield (
                f"Folds by rows: {self.fold_figure} {self.folds['rows']:.4f}; folds by groups, none of which is in two "
                f"folds: {self.folds['groups']:.4f}. Expect the second on new groups, for which the head is calibrated."
            )
        for split, each in self.splits.items():
            known = [one for one in each if one.trained]
            if known:
                yield (
                    f"{split}: {sum(one.rows for one in known):,} rows are of {len(known)} of {len(each)} groups that "
                    f"the head learned from too, so figures on {split} are not those of new groups."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON-able values."""
        return asdict(self)

    def markdown(self) -> list[str]:
        """Return a section with the groups of the last split; nothing without groups there."""
        if not self.splits:
            return []
        split, each = list(self.splits.items())[-1]
        rows = [
            (one.group, f"{one.value:.3f}", f"{one.rows:,}", "yes" if one.trained else "no")
            for one in each[:MOST_GROUPS]
        ]
        return ["", f"## Weakest groups ({split})", "", *safe_table(("group", self.figure, "rows", "trained on"), rows)]
