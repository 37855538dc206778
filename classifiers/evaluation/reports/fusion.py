"""The report on what fusing encoders gains: each encoder alone, the oracle and its control, all rules, cascades.

These are pure functions of arrays. The rows must be rows that no member was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.calibration import mean_nll
from classifiers.evaluation.tables import table
from classifiers.heads.fusion.cascade import NEVER, stopping, sureness
from classifiers.heads.fusion.rules import RULES, filled, log_softmax, weighted

THRESHOLDS = (0.0, *(1 - np.geomspace(0.9, 1e-4, 60)).tolist(), NEVER)
"""Thresholds at which a cascade is measured, from the first encoder alone to all encoders. They are closest together
near 1, where heads that are almost certain differ."""

ORACLE = (
    "The oracle is right on every row that at least one encoder alone gets right: no choice of one encoder for each "
    "row can do better."
)


@dataclass(frozen=True, slots=True)
class Quality:
    """Accuracy in 0…1, and mean NLL in nats, of scores without calibration."""

    accuracy: float
    nll: float

    @classmethod
    def of(cls, scores: NDArray[Any], codes: NDArray[np.integer[Any]]) -> "Quality":
        """Return the figures of scores (n ≥ 1, K), which may be -inf, for true codes (n,)."""
        return cls(float(np.mean(scores.argmax(axis=1) == codes)), mean_nll(scores, codes, 1.0))


@dataclass(frozen=True, slots=True)
class CascadePoint:
    """A cascade at one threshold.

    Attributes:
        loss, loss_error: accuracy lost against the last step, and its standard error (paired, on the same rows).
        cost: mean cost of a row, in the unit of the encoders' costs.
        stopped: share of rows that stop at each step, (S,).
    """

    threshold: float
    accuracy: float
    loss: float
    loss_error: float
    cost: float
    stopped: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FusionReport:
    """Comparisons of a fused head with its members and with other rules.

    Attributes:
        rows: number of rows.
        members: figures of each encoder alone, by name.
        singles: figures of classifiers outside the fusion, by name, e.g. the members with another norm.
        rules: figures of every rule by name; "…, calibrated" is the rule with the members' temperatures.
        oracle: share of rows on which at least one member is right: the upper limit of choosing a member for each row.
        oracle_gain: the oracle minus the accuracy of the best member.
        independent_oracle: the oracle if the members' errors were independent, see `independent_oracle`.
        disagreement: share of rows on which two members differ, (B, B).
        q_statistic: Yule's Q of each pair of members, (B, B), see `q_statistics`.
        cascade: result of `cascade_curve`; empty for other rules.
    """

    rows: int
    members: Mapping[str, Quality]
    singles: Mapping[str, Quality]
    rules: Mapping[str, Quality]
    oracle: float
    oracle_gain: float
    independent_oracle: float
    disagreement: tuple[tuple[float, ...], ...]
    q_statistic: tuple[tuple[float, ...], ...]
    cascade: tuple[CascadePoint, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON-able values."""
        return asdict(self)


def fusion_report(
    names: Sequence[str],
    scores: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    temperatures: NDArray[Any],
    weights: NDArray[Any],
    *,
    singles: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    cascade: Sequence[CascadePoint] = (),
) -> FusionReport:
    """Return the report on the scores of B members.

    Args:
        names: names of the members, (B,).
        scores: scores of the members, (n ≥ 1, B, K); -inf where a member does not know a class.
        codes: true classes, (n,).
        temperatures, weights: temperature and weight of each member, (B,), learned on other rows.
        singles: scores (n, K) of other classifiers, by name.
        cascade: result of `cascade_curve`, if the rule is a cascade.
    """
    right = scores.argmax(axis=2) == codes[:, None]
    members = {name: Quality.of(scores[:, member], codes) for member, name in enumerate(names)}
    oracle = oracle_accuracy(right)
    return FusionReport(
        rows=len(codes),
        members=members,
        singles={name: Quality.of(each, codes) for name, each in singles.items()},
        rules=rule_figures(scores, codes, temperatures, weights),
        oracle=oracle,
        oracle_gain=oracle - max(each.accuracy for each in members.values()),
        independent_oracle=independent_oracle(right, codes),
        disagreement=rounded(disagreements(scores.argmax(axis=2))),
        q_statistic=rounded(q_statistics(right)),
        cascade=tuple(cascade),
    )


def rule_figures(
    scores: NDArray[Any], codes: NDArray[np.integer[Any]], temperatures: NDArray[Any], weights: NDArray[Any]
) -> dict[str, Quality]:
    """Return the figures of every rule that needs only temperatures and weights; arguments as in `fusion_report`."""
    uncalibrated, calibrated = filled(log_softmax(scores)), filled(log_softmax(scores, temperatures))
    found = {}
    for name, rule in RULES.items():
        found[name] = Quality.of(rule(uncalibrated), codes)
        found[f"{name}, calibrated"] = Quality.of(rule(calibrated), codes)
    return found | {"stack": Quality.of(weighted(calibrated, weights.astype(scores.dtype)), codes)}


def oracle_accuracy(right: NDArray[np.bool_]) -> float:
    """Return the share of rows on which a member is right; `right` (n, B) is true for each member that is right."""
    return float(right.any(axis=1).mean())


def independent_oracle(right: NDArray[np.bool_], codes: NDArray[np.integer[Any]]) -> float:
    """Return the expected oracle of members with the same accuracy in each class, but with independent errors.

    Any set of weak members has a high oracle, which grows with their number. This control is the mean oracle if each
    column of `right` (n, B) were shuffled within every class. An oracle far below the control means that the members
    fail on the same rows. An oracle near the control gains only as much as independent guesses would. Another control
    are refits of one encoder with several seeds: pass their predictions to `oracle_accuracy`.
    """
    classes, own, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    hits = np.zeros((len(classes), right.shape[1]))
    np.add.at(hits, own, right)
    missed = np.prod(1 - hits / sizes[:, None], axis=1)
    return float(1 - np.sum(missed * sizes) / len(codes))


def disagreements(predicted: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return the share of rows on which two members choose different classes, (B, B), from those classes (n, B)."""
    return np.asarray((predicted[:, :, None] != predicted[:, None, :]).mean(axis=0))


def q_statistics(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return Yule's Q of each pair of members, (B, B), from `right` (n, B), which is true where a member is right.

    Q is 1 if both fail on the same rows, 0 if they are independent, -1 if they fail on different rows. It is
    (N₁₁ N₀₀ - N₀₁ N₁₀) / (N₁₁ N₀₀ + N₀₁ N₁₀), with N₁₁ the number of rows on which both are right, N₁₀ on which only
    the first is right, and so on (Kuncheva and Whitaker 2003). It is set to 0 where this is 0 / 0.
    """
    yes = right.astype(np.float64)
    no = 1 - yes
    together, apart = (yes.T @ yes) * (no.T @ no), (yes.T @ no) * (no.T @ yes)
    total = together + apart
    return np.asarray(np.divide(together - apart, total, out=np.zeros_like(total), where=total > 0))


def cascade_curve(
    stage_scores: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    spent: NDArray[np.float64],
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[CascadePoint]:
    """Return the accuracy and the cost of a cascade at every threshold.

    Args:
        stage_scores: scores after each step, (n ≥ 1, S, K).
        codes: true classes, (n,).
        spent: total cost of a row that stops at each step, (S,).
    """
    rows, steps = np.arange(len(codes)), stage_scores.shape[1]
    sure, right = sureness(stage_scores), stage_scores.argmax(axis=2) == codes[:, None]
    points = []
    for threshold in thresholds:
        step = stopping(sure, threshold)
        stopped = np.bincount(step, minlength=steps) / len(codes)
        won = right[rows, step]
        lost = right[:, -1].astype(np.float64) - won
        error = lost.std() / np.sqrt(len(codes))
        points.append(
            CascadePoint(
                threshold,
                accuracy=float(won.mean()),
                loss=float(lost.mean()),
                loss_error=float(error),
                cost=float(stopped @ spent),
                stopped=tuple(stopped.tolist()),
            )
        )
    return points


def rounded(matrix: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.round(6).tolist())


def fusion_lines(reports: Mapping[str, FusionReport]) -> list[str]:
    """Return the reports of one or more splits as Markdown: accuracy and NLL side by side, and what a cascade costs.

    If neighbouring points of the cascade have equal accuracy, only the cheapest is shown.
    """
    columns = [cells(report) for report in reports.values()]
    titles = [f"{figure}, {split}" for split in reports for figure in ("accuracy", "NLL")]
    rows = [(name, *(cell for column in columns for cell in column[name])) for name in columns[0]]
    lines = ["", "## What fusing gains", "", *table(("", *titles), rows), "", ORACLE]
    split, last = list(reports.items())[-1]
    if last.cascade:
        accuracies = [None, *(point.accuracy for point in last.cascade)]
        changes = [point for point, before in zip(last.cascade, accuracies, strict=False) if point.accuracy != before]
        points = [(f"{point.threshold:.4f}", f"{point.cost:.3f}", f"{point.accuracy:.4f}") for point in changes]
        lines += ["", f"## What the cascade costs ({split})", "", *table(("stops at", "mean cost", "accuracy"), points)]
    return lines


def cells(report: FusionReport) -> dict[str, tuple[str, str]]:
    """Return the cells (accuracy, NLL) of everything in a report, by name."""
    found = {**report.members, **report.singles, **report.rules}
    shown = {name: (f"{each.accuracy:.4f}", f"{each.nll:.4f}") for name, each in found.items()}
    oracles = {"oracle": report.oracle, "oracle if errors were independent": report.independent_oracle}
    return shown | {name: (f"{value:.4f}", "") for name, value in oracles.items()}
