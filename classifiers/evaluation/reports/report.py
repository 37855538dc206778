"""The report of a training run, as JSON for programs and as Markdown for people.

It contains no times, so training again on the same rows makes the same report.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from classifiers.evaluation.figures import Figures
from classifiers.evaluation.reports.fusion import FusionReport, fusion_lines
from classifiers.evaluation.reports.groups import GroupReport
from classifiers.evaluation.reports.leakage import Leakage
from classifiers.evaluation.tables import table
from classifiers.evaluation.trust import OutOfDistribution


@dataclass(frozen=True, slots=True)
class Calibration:
    """The rows that a head was calibrated on.

    Attributes:
        on: name of these rows among the figures: "val", or that of the held-out training rows.
        rows: number of rows that were used.
        of: number of labelled rows there. The others have no vector, or the only rows of their class.
        folds: what a fold held out, "rows" or "groups"; None if the rows are no training rows.
    """

    on: str
    rows: int
    of: int
    folds: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The report on how a head was made and how good it is.

    Attributes:
        parameters: hyper-parameters of the estimator, as the user gave them.
        settings: settings of the head, including those that training chose.
        rows: number of rows used, by split.
        temperature: divides the scores; fitted on the validation rows, 1 without them.
        warnings: reasons not to use the head, one sentence each.
        remarks: other facts that a reader must know, one sentence each.
        evaluations: figures by split, with calibrated probabilities. Compare heads on val; test is read once.
        ood: how well rows of the split `ood` stand out; None without such rows.
        calibration: the rows that the head was calibrated on; None if on none.
        groups: figures by group; None if no row has a group.
        leakage: held-out rows with a near-duplicate among the training rows; None if that was not looked at.
        fusion: for a fused head, its comparison with its members and with other rules, by split.
    """

    task: str
    kind: str
    encoders: tuple[str, ...]
    parameters: Mapping[str, Any]
    settings: Mapping[str, Any]
    rows: Mapping[str, int]
    temperature: float
    evaluations: Mapping[str, Figures]
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    ood: OutOfDistribution | None = None
    calibration: Calibration | None = None
    groups: GroupReport | None = None
    leakage: Leakage | None = None
    fusion: Mapping[str, FusionReport] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """All that a reader must know, the warnings first."""
        return (*self.warnings, *self.remarks)

    def summaries(self) -> dict[str, dict[str, float]]:
        """Return the figures that are one number each, by split."""
        return {split: figures.summary() for split, figures in self.evaluations.items()}


def to_json(report: Report) -> str:
    """Return the full report as JSON."""
    content = {
        "task": report.task,
        "kind": report.kind,
        "encoders": list(report.encoders),
        "parameters": dict(report.parameters),
        "settings": dict(report.settings),
        "rows": dict(report.rows),
        "temperature": report.temperature,
        "calibration": asdict(report.calibration) if report.calibration else None,
        "notes": list(report.notes),
        "evaluations": {split: each.to_dict() for split, each in report.evaluations.items()},
        "groups": report.groups.to_dict() if report.groups else None,
        "near_duplicates": report.leakage.to_dict() if report.leakage else None,
        "ood": report.ood.to_dict() if report.ood else None,
        "fusion": {split: each.to_dict() for split, each in report.fusion.items()},
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def to_markdown(report: Report) -> str:
    """Return one page: warnings, how the head was made, notes, figures by split, and details of the last split."""
    made = {name: value for name, value in {**report.parameters, **report.settings}.items() if is_short(value)}
    remarks = (*report.remarks, *((report.leakage.note(),) if report.leakage else ()))
    lines = [
        f"# {report.kind} head for {report.task}",
        "",
        *(line for warning in report.warnings for line in (f"> **Warning.** {warning}", "")),
        f"Encoders: {', '.join(report.encoders)}. "
        f"Settings: {', '.join(f'{key} = {shown(value)}' for key, value in made.items())}. "
        f"Temperature: {report.temperature:.3f}.",
        f"Rows: {', '.join(f'{split} {count:,}' for split, count in report.rows.items())}.",
        "",
        *(f"- {remark}" for remark in remarks),
        *([""] if remarks else []),
        *overview(report.evaluations),
        *(["", *report.ood.markdown()] if report.ood else ()),
        *(report.groups.markdown() if report.groups else ()),
        *(fusion_lines(report.fusion) if report.fusion else ()),
    ]
    if report.evaluations:
        split, figures = list(report.evaluations.items())[-1]
        lines += figures.markdown(split)
    return "\n".join(lines) + "\n"


def overview(evaluations: Mapping[str, Figures]) -> list[str]:
    """Return a table with one row for each split, and what its technical terms mean; nothing without splits."""
    if not evaluations:
        return []
    found = {split: figures.overview() for split, figures in evaluations.items()}
    first = next(iter(evaluations))
    rows = [(split, *cells.values()) for split, cells in found.items()]
    return [*table(("split", *found[first]), rows), "", " ".join(evaluations[first].terms)]


def is_short(value: object) -> bool:
    """True for one value or a list of values. Settings of heads inside a head are in the manifest only."""
    return not isinstance(value, dict) and not (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
