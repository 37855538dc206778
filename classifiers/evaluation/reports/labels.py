"""How good a head for several labels is, with how far its probabilities can be trusted; as JSON and as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.label_figures import LabelEvaluation, evaluate_labels
from classifiers.evaluation.trust import ECE_BINS, Reliability, reliability
from classifiers.heads.base import probabilities
from classifiers.heads.multilabel.base import LabelsHead

MOST_LABELS = 40
"""Labels in the Markdown, weakest first; the JSON has them all."""


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Figures of one head on the rows of one split.

    Attributes:
        evaluation: by scores; its thresholds are given as probabilities here.
        labels_a_row: mean number of labels, of those that the head knows.
        nll: mean binary cross-entropy of a row's label, in nats.
        reliability: of the probabilities of all rows' labels together. Most are near 0 and right, so its error (ECE)
            is small beside that of a head for one label.
    """

    evaluation: LabelEvaluation
    labels_a_row: float
    nll: float
    reliability: Reliability
    limits: NDArray[np.float64]

    @classmethod
    def of(cls, head: LabelsHead, scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> Self:
        """The figures of a calibrated head's scores (n, L), before temperature; n ≥ 1."""
        proba = probabilities(scores, head.link, head.temperature)
        return cls(
            evaluation=evaluate_labels(scores, truth, head.classes, head.thresholds.labels),
            labels_a_row=float(truth.sum() / len(truth)),
            nll=binary_nll(scores / np.float32(head.temperature), truth),
            reliability=reliability(proba.ravel(), truth.ravel()),
            limits=probabilities(head.thresholds.labels.astype(np.float64), head.link, head.temperature),
        )

    @property
    def rows(self) -> int:
        return self.evaluation.rows

    def summary(self) -> dict[str, float]:
        """The figures that are one number each."""
        return {**self.evaluation.summary(), "nll": self.nll, "ece": self.reliability.error()}

    def to_json(self) -> dict[str, Any]:
        found = self.evaluation
        columns = (found.average_precision, found.precision, found.recall, found.f1, self.limits, found.support)
        names = ("average_precision", "precision", "recall", "f1", "threshold", "support")
        values = zip(*(column.tolist() for column in columns), strict=True)
        per_label = [
            {"label": label} | {name: None if value != value else value for name, value in zip(names, row, strict=True)}
            for label, row in zip(found.classes, values, strict=True)
        ]
        bins = self.reliability
        trusted = zip(
            bins.low.tolist(), bins.rows.tolist(), bins.confidence.tolist(), bins.accuracy.tolist(), strict=True
        )
        return {
            **self.summary(),
            "labels_a_row": self.labels_a_row,
            "per_label": per_label,
            "reliability": [
                dict(zip(("low", "labels", "probability", "share"), each, strict=True)) for each in trusted
            ],
        }


def binary_nll(logits: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Mean binary cross-entropy of logits for what is there, of one shape, in nats."""
    wide = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0.0, wide) - truth * wide))


def label_figures(figures: Mapping[str, LabelFigures]) -> list[str]:
    """A table of all splits' figures."""
    names = ("map", "micro_f1", "macro_f1", "f1_at_3", "f1_at_5", "nll", "ece")
    rows = []
    for split, found in figures.items():
        cells = " | ".join(f"{found.summary()[name]:.4f}" for name in names)
        rows.append(f"| {split} | {found.rows:,} | {found.labels_a_row:.2f} | {cells} |")
    head = "| split | rows | labels a row | mAP | micro-F1 | macro-F1 | F1@3 | F1@5 | NLL a label | ECE |"
    return [head, "|---|---|---|---|---|---|---|---|---|---|", *rows]


def label_lines(split: str, found: LabelFigures) -> list[str]:
    """What stands below the figures, of one split."""
    return [
        "",
        f"## Can its probabilities be trusted? {split}",
        "",
        *trust_table(found.reliability),
        "",
        f"## Weakest labels, {split}",
        "",
        *labels_table(found),
    ]


def trust_table(bins: Reliability) -> list[str]:
    columns = (bins.low, bins.confidence, bins.accuracy, bins.rows)
    rows = [
        f"| {low:.2f}–{low + 1 / ECE_BINS:.2f} | {mean:.3f} | {share:.3f} | {count:,} |"
        for low, mean, share, count in zip(*(column.tolist() for column in columns), strict=True)
    ]
    return ["| probability | mean | how often right | labels of rows |", "|---|---|---|---|", *rows]


def labels_table(found: LabelFigures) -> list[str]:
    """The labels that occur, lowest average precision first."""
    each, precisions = found.evaluation, found.evaluation.average_precision
    occur = np.flatnonzero(each.support)
    weakest = occur[np.argsort(precisions[occur], kind="stable")][:MOST_LABELS]
    rows = [
        f"| {' '.join(each.classes[k].replace('|', chr(92) + '|').split())} | {precisions[k]:.3f} "
        f"| {each.precision[k]:.3f} | {each.recall[k]:.3f} | {each.f1[k]:.3f} | {found.limits[k]:.3f} "
        f"| {each.support[k]:,} |"
        for k in weakest.tolist()
    ]
    head = "| label | average precision | precision | recall | F1 | given from probability | rows |"
    return [head, "|---|---|---|---|---|---|---|", *rows]
