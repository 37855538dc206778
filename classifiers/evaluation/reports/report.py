"""What a training run found, as JSON for programs and as Markdown for people. No times: it is content."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from classifiers.evaluation.figures import Evaluation
from classifiers.evaluation.reports.fusion import FusionReport, fusion_lines
from classifiers.evaluation.reports.labels import LabelFigures, label_figures, label_lines
from classifiers.evaluation.trust import ECE_BINS, Reliability, Selective, Strangers

MOST_CLASSES = 40
"""Classes in the Markdown, weakest first; the JSON has them all."""
MOST_CONFUSIONS = 10


@dataclass(frozen=True, slots=True)
class Report:
    """How a head was made and how good it is.

    Attributes:
        parameters: hyper-parameters of the estimator; `settings` what it chose itself.
        rows: rows by split, as used.
        temperature: divides the scores; fitted on the validation rows, 1 without them.
        notes: what a reader must know, one sentence each.
        evaluations: figures by split, with calibrated probabilities. Choose on val; test is looked at once.
        strangers: how well rows of the split `ood` stand out; None without such rows.
        fusion: of a fused head, what stands beside it, by split.
        labels: in place of `evaluations`, figures by split of a head that gives a row any number of labels.
    """

    task: str
    kind: str
    encoders: tuple[str, ...]
    parameters: Mapping[str, Any]
    settings: Mapping[str, Any]
    rows: Mapping[str, int]
    temperature: float
    notes: tuple[str, ...]
    evaluations: Mapping[str, Evaluation]
    strangers: Strangers | None = None
    fusion: Mapping[str, FusionReport] = field(default_factory=dict)
    labels: Mapping[str, LabelFigures] = field(default_factory=dict)

    def summaries(self) -> dict[str, dict[str, float]]:
        """The figures that are one number each, by split."""
        found: dict[str, Evaluation | LabelFigures] = {**self.evaluations, **self.labels}
        return {split: figures.summary() for split, figures in found.items()}


def rows_used(learned: int, found: Mapping[str, Evaluation | LabelFigures]) -> dict[str, int]:
    """Rows by split: those learned from, and those that the figures of `val` and `test` are of."""
    return {"train": learned} | {split: found[split].rows if split in found else 0 for split in ("val", "test")}


def to_json(report: Report) -> str:
    """The whole report. Confusion matrices are lists of [true class, predicted class, rows] without zeros."""
    content = {
        "task": report.task,
        "kind": report.kind,
        "encoders": list(report.encoders),
        "parameters": dict(report.parameters),
        "settings": dict(report.settings),
        "rows": dict(report.rows),
        "temperature": report.temperature,
        "notes": list(report.notes),
        "evaluations": {split: evaluation_dict(each) for split, each in report.evaluations.items()}
        | {split: each.to_json() for split, each in report.labels.items()},
        "ood": strangers_dict(report.strangers) if report.strangers else None,
        "fusion": {split: each.to_json() for split, each in report.fusion.items()},
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def evaluation_dict(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON-able values."""
    columns = (evaluation.precision, evaluation.recall, evaluation.f1, evaluation.support)
    per_class = zip(evaluation.classes, *(column.tolist() for column in columns), strict=True)
    return {
        **evaluation.summary(),
        "per_class": [
            {"class": name, "precision": precision, "recall": recall, "f1": f1, "support": support}
            for name, precision, recall, f1, support in per_class
        ],
        "confusion": confusions(evaluation),
        "reliability": records(evaluation.reliability),
        "risk_coverage": records(evaluation.selective),
    }


def records(columns: Reliability | Selective) -> list[dict[str, float]]:
    """Columns of equal length as one object a row."""
    names = [field.name for field in fields(columns)]
    values = (getattr(columns, name).tolist() for name in names)
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def strangers_dict(found: Strangers) -> dict[str, Any]:
    """The figures on the split `ood` as JSON-able values."""
    flagged = [
        {"max_outlier": limit, "ood": theirs, found.against: ours} for limit, (theirs, ours) in found.flagged.items()
    ]
    return {
        "rows": found.rows,
        "against": found.against,
        "against_rows": found.against_rows,
        "auroc": dict(found.auroc),
        "flagged": flagged,
    }


def confusions(evaluation: Evaluation) -> list[list[Any]]:
    """[true class, predicted class, rows] for every pair that occurs."""
    true, predicted = np.nonzero(evaluation.confusion)
    counts = evaluation.confusion[true, predicted].tolist()
    names = evaluation.classes
    return [[names[t], names[p], n] for t, p, n in zip(true.tolist(), predicted.tolist(), counts, strict=True)]


def to_markdown(report: Report) -> str:
    """One page: figures by split, notes, and the last split's weakest classes and commonest confusions."""
    made = {name: value for name, value in {**report.parameters, **report.settings}.items() if plain(value)}
    lines = [
        f"# {report.kind} head for {report.task}",
        "",
        f"Encoders: {', '.join(report.encoders)}. "
        f"Settings: {', '.join(f'{key} = {shown(value)}' for key, value in made.items())}. "
        f"Temperature: {report.temperature:.3f}.",
        f"Rows: {', '.join(f'{split} {count:,}' for split, count in report.rows.items())}.",
        "",
        *(f"- {note}" for note in report.notes),
        *([""] if report.notes else []),
        *(label_figures(report.labels) if report.labels else figures(report.evaluations)),
        *(strangers_lines(report.strangers) if report.strangers else ()),
        *(fusion_lines(report.fusion) if report.fusion else ()),
    ]
    if report.evaluations:
        split, evaluation = list(report.evaluations.items())[-1]
        lines += ["", f"## Can its probabilities be trusted? {split}", "", *reliability_table(evaluation)]
        lines += ["", f"## If it answers only when sure, {split}", "", *selective_table(evaluation)]
        lines += ["", f"## Weakest classes, {split}", "", *classes_table(evaluation)]
        lines += ["", f"## Commonest confusions, {split}", "", *confusions_table(evaluation)]
    if report.labels:
        lines += label_lines(*list(report.labels.items())[-1])
    return "\n".join(lines) + "\n"


def plain(value: object) -> bool:
    """Whether a setting is one value, or a list of them: what heads inside a head are like stands in the manifest."""
    return not isinstance(value, dict) and not (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cell(text: str) -> str:
    """A label inside a Markdown table."""
    return " ".join(text.replace("|", r"\|").split())


def interval(evaluation: Evaluation) -> str:
    return "–".join(f"{end:.4f}" for end in evaluation.accuracy_interval)


def figures(evaluations: Mapping[str, Evaluation]) -> list[str]:
    rows = [
        f"| {split} | {e.rows:,} | {e.accuracy:.4f} | {interval(e)} | {e.macro_f1:.4f} "
        f"| {e.nll_plain:.4f} → {e.nll:.4f} | {e.ece:.4f} | {e.aurc:.4f} |"
        for split, e in evaluations.items()
    ]
    head = "| split | rows | accuracy | 95 % interval | macro-F1 | NLL before → after temperature | ECE | AURC |"
    return [head, "|---|---|---|---|---|---|---|---|", *rows]


def strangers_lines(found: Strangers) -> list[str]:
    names = {"outlier": "outlier score", "max_probability": "probability"}
    areas = ", ".join(f"{value:.3f} by {names[name]}" for name, value in found.auroc.items())
    return [
        "",
        f"Strangers, {found.rows:,} rows of ood against {found.against_rows:,} of {found.against}: AUROC {areas}.",
        *(
            f"`max_outlier={limit}` turns away {theirs:.1%} of the strangers and {ours:.1%} of {found.against}."
            for limit, (theirs, ours) in found.flagged.items()
        ),
    ]


def reliability_table(evaluation: Evaluation) -> list[str]:
    rows = [
        f"| {each['low']:.2f}–{each['low'] + 1 / ECE_BINS:.2f} | {each['confidence']:.3f} | {each['accuracy']:.3f} "
        f"| {each['rows']:,} |"
        for each in records(evaluation.reliability)
    ]
    return ["| probability | mean | accuracy | rows |", "|---|---|---|---|", *rows]


def selective_table(evaluation: Evaluation) -> list[str]:
    rows = [
        f"| {each['min_probability']:.4f} | {each['answered']:.1%} | {each['accuracy']:.4f} |"
        for each in records(evaluation.selective)
    ]
    return ["| min_probability | answered | accuracy of these |", "|---|---|---|", *rows]


def classes_table(evaluation: Evaluation) -> list[str]:
    seen = np.flatnonzero(evaluation.support)
    weakest = seen[np.argsort(evaluation.f1[seen], kind="stable")][:MOST_CLASSES]
    rows = [
        f"| {cell(evaluation.classes[k])} | {evaluation.precision[k]:.3f} | {evaluation.recall[k]:.3f} "
        f"| {evaluation.f1[k]:.3f} | {evaluation.support[k]:,} |"
        for k in weakest.tolist()
    ]
    return ["| class | precision | recall | F1 | rows |", "|---|---|---|---|---|", *rows]


def confusions_table(evaluation: Evaluation) -> list[str]:
    wrong = [each for each in confusions(evaluation) if each[0] != each[1]]
    wrong.sort(key=lambda each: -each[2])
    rows = [f"| {cell(true)} | {cell(predicted)} | {n:,} |" for true, predicted, n in wrong[:MOST_CONFUSIONS]]
    return ["| true | predicted | rows |", "|---|---|---|", *rows] if rows else ["None."]
