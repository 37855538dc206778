"""What a training run found, as JSON for programs and as Markdown for people. No times: it is content."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from classifiers.evaluate import Evaluation

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
        "evaluations": {split: evaluation_dict(each) for split, each in report.evaluations.items()},
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
    }


def confusions(evaluation: Evaluation) -> list[list[Any]]:
    """[true class, predicted class, rows] for every pair that occurs."""
    true, predicted = np.nonzero(evaluation.confusion)
    counts = evaluation.confusion[true, predicted].tolist()
    names = evaluation.classes
    return [[names[t], names[p], n] for t, p, n in zip(true.tolist(), predicted.tolist(), counts, strict=True)]


def to_markdown(report: Report) -> str:
    """One page: figures by split, notes, and the last split's weakest classes and commonest confusions."""
    made = {**report.parameters, **report.settings}
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
        *figures(report.evaluations),
    ]
    if report.evaluations:
        split, evaluation = list(report.evaluations.items())[-1]
        lines += ["", f"## Weakest classes, {split}", "", *classes_table(evaluation)]
        lines += ["", f"## Commonest confusions, {split}", "", *confusions_table(evaluation)]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cell(text: str) -> str:
    """A label inside a Markdown table."""
    return " ".join(text.replace("|", r"\|").split())


def interval(evaluation: Evaluation) -> str:
    return "–".join(f"{end:.4f}" for end in evaluation.accuracy_interval)


def figures(evaluations: Mapping[str, Evaluation]) -> list[str]:
    rows = [
        f"| {split} | {e.rows:,} | {e.accuracy:.4f} | {interval(e)} | {e.macro_f1:.4f} | {e.nll:.4f} | {e.ece:.4f} |"
        for split, e in evaluations.items()
    ]
    head = "| split | rows | accuracy | 95 % interval | macro-F1 | NLL | ECE |"
    return [head, "|---|---|---|---|---|---|---|", *rows]


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
