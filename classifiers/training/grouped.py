"""Figures of a head by group, and what folds of rows and folds of groups say about it."""

from collections.abc import Callable, Mapping, Sequence

from classifiers.evaluation.reports.groups import GroupFigure, GroupReport
from classifiers.heads.base import Head
from classifiers.training.rows.folds import BYS, By, has_groups
from classifiers.training.rows.row_f1 import f1_by_id
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Scored

SPLITS = ("val", "test")


def group_report(
    rows: Rows,
    head: Head,
    crossed: Callable[[By], Sequence[Scored]],
    figure: tuple[str, Callable[[Scored], float]],
) -> GroupReport | None:
    """Return the figures by group; None if no row has one.

    Args:
        head: calibrated.
        crossed: returns the training rows, scored by heads that did not learn from their fold.
        figure: name and function of the figure of scored rows.
    """
    splits = {split: found for split in SPLITS if (found := figures_of(rows, head, split))}
    if not rows.groups and not splits:
        return None
    name, value = figure
    folds: dict[str, float] = {}
    if rows.grouped:
        parts: Mapping[By, Sequence[Scored]] = {by: crossed(by) for by in BYS}
        if all(parts.values()):
            folds = {by: value(Scored.concatenate(some)) for by, some in parts.items()}
    own = "accuracy" if name == "accuracy" else "F1"
    return GroupReport(len(rows.groups), own, folds, name, splits)


def figures_of(rows: Rows, head: Head, split: str) -> list[GroupFigure]:
    """Return the figures of the groups of a split, worst first; none if no row has a group."""
    labelled = rows.labelled(split)
    if not has_groups(labelled):
        return []
    values = f1_by_id(rows, head, split)
    found: dict[str, list[float]] = {}
    for id_, group in zip(labelled["id"].to_pylist(), labelled["group"].to_pylist(), strict=True):
        if group is not None and id_ in values:
            found.setdefault(group, []).append(values[id_])
    each = [GroupFigure(name, len(some), sum(some) / len(some), name in rows.groups) for name, some in found.items()]
    return sorted(each, key=lambda one: (one.value, one.group))
