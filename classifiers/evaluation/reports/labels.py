"""The figures of a head that gives a row any number of labels, and how far its probabilities can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.figures import ECE, NLL
from classifiers.evaluation.label_figures import LabelEvaluation, evaluate_labels
from classifiers.evaluation.tables import safe_table, table
from classifiers.evaluation.trust import ECE_BINS, Reliability, reliability
from classifiers.heads.base import probabilities
from classifiers.heads.multilabel.base import LabelsHead

MOST_LABELS = 40
"""Maximum number of labels in the Markdown, weakest first; the JSON has all labels."""

MAP = (
    "mAP is the mean over the labels of the average precision: how far the rows with a label are ranked before the "
    "rows without it; 1 is perfect."
)


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Figures of a head that gives a row any number of labels, on the rows of one split.

    Attributes:
        evaluation: figures of the scores; its thresholds are on the scale of the scores.
        labels_a_row: mean number of labels of a row, among the labels that the head knows.
        nll: mean binary cross-entropy of a row and a label, in nats.
        reliability: bins of the probabilities of all rows and labels together. Most probabilities are near 0 and right,
            so the ECE is smaller than that of a head that gives each row one class.
        limits: probability from which each label is given, (L,).
    """

    evaluation: LabelEvaluation
    labels_a_row: float
    nll: float
    reliability: Reliability
    limits: NDArray[np.float64]

    @classmethod
    def of(cls, head: LabelsHead, scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> Self:
        """Return the figures of a calibrated head.

        Args:
            scores: the head's scores before temperature, (n, L), n ≥ 1.
            truth: true where a row has a label, (n, L).
        """
        proba = probabilities(scores, head.link, head.temperature)
        return cls(
            evaluation=evaluate_labels(scores, truth, head.classes, head.thresholds.labels),
            labels_a_row=float(truth.sum() / len(truth)),
            nll=binary_nll(scores / np.float32(head.temperature), truth),
            reliability=reliability(proba.ravel(), truth.ravel()),
            limits=probabilities(head.thresholds.labels.astype(np.float64), head.link, head.temperature),
        )

    @property
    def terms(self) -> Sequence[str]:
        return (MAP, NLL, ECE)

    @property
    def rows(self) -> int:
        return self.evaluation.rows

    def summary(self) -> dict[str, float]:
        return {**self.evaluation.summary(), "nll": self.nll, "ece": self.reliability.error()}

    def overview(self) -> dict[str, str]:
        found = self.summary()
        titles = {
            "map": "mAP",
            "micro_f1": "micro-F1",
            "macro_f1": "macro-F1",
            "f1_at_3": "F1@3",
            "f1_at_5": "F1@5",
            "nll": "NLL of a label",
            "ece": "ECE",
        }
        return {
            "rows": f"{self.rows:,}",
            "labels per row": f"{self.labels_a_row:.2f}",
            **{title: f"{found[name]:.4f}" for name, title in titles.items()},
        }

    def weakest(self) -> tuple[Sequence[str], list[Sequence[str]]]:
        """Return titles and rows of the labels that occur, lowest average precision first."""
        each = self.evaluation
        occur = np.flatnonzero(each.support)
        weakest = occur[np.argsort(each.average_precision[occur], kind="stable")][:MOST_LABELS]
        columns = (each.average_precision, each.precision, each.recall, each.f1, self.limits)
        rows: list[Sequence[str]] = [
            (each.classes[k], *(f"{column[k]:.3f}" for column in columns), f"{each.support[k]:,}")
            for k in weakest.tolist()
        ]
        return ("label", "average precision", "precision", "recall", "F1", "given from probability", "rows"), rows

    def markdown(self, split: str) -> list[str]:
        sections = {
            "Can its probabilities be trusted?": self._trust_table(),
            "Weakest labels": safe_table(*self.weakest()),
        }
        return [line for title, lines in sections.items() for line in ("", f"## {title} ({split})", "", *lines)]

    def to_dict(self) -> dict[str, Any]:
        found = self.evaluation
        columns = (found.average_precision, found.precision, found.recall, found.f1, self.limits, found.support)
        names = ("average_precision", "precision", "recall", "f1", "threshold", "support")
        values = zip(*(column.tolist() for column in columns), strict=True)
        per_label = [
            {"label": label} | {name: None if value != value else value for name, value in zip(names, row, strict=True)}
            for label, row in zip(found.classes, values, strict=True)
        ]
        keys = ("low", "labels", "probability", "share")
        return {
            **self.summary(),
            "labels_a_row": self.labels_a_row,
            "per_label": per_label,
            "reliability": [dict(zip(keys, each, strict=True)) for each in self._bins()],
        }

    def _bins(self) -> list[tuple[float, int, float, float]]:
        """Lower end, number of (row, label) pairs, mean probability and share of true labels, for each bin."""
        bins = self.reliability
        columns = (bins.low, bins.rows, bins.confidence, bins.accuracy)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _trust_table(self) -> list[str]:
        rows = [
            (f"{low:.2f}–{low + 1 / ECE_BINS:.2f}", f"{mean:.3f}", f"{share:.3f}", f"{count:,}")
            for low, count, mean, share in self._bins()
        ]
        return table(("probability", "mean", "how often right", "rows × labels"), rows)


def binary_nll(logits: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Return the mean binary cross-entropy in nats of logits for the true labels; both have the same shape."""
    wide = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0.0, wide) - truth * wide))
