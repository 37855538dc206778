"""What fusing several encoders is worth: each alone, the oracle and its control, every rule, and what a cascade costs.

Pure functions of arrays. Give them rows that no member was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.calibration import mean_nll
from classifiers.heads.fusion.cascade import NEVER, stopping, sureness
from classifiers.heads.fusion.rules import RULES, filled, log_softmax, weighted

THRESHOLDS = (0.0, *(1 - np.geomspace(0.9, 1e-4, 60)).tolist(), NEVER)
"""Where a cascade is looked at: from the first encoder alone to all of them, finest where sure heads differ."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Accuracy in 0…1, and mean NLL in nats, of the scores as they are."""

    accuracy: float
    nll: float

    @classmethod
    def of(cls, scores: NDArray[Any], codes: NDArray[np.integer[Any]]) -> "Quality":
        """Of scores (n ≥ 1, K), which may hold -inf, for true codes (n,)."""
        return cls(float(np.mean(scores.argmax(axis=1) == codes)), mean_nll(scores, codes, 1.0))


@dataclass(frozen=True, slots=True)
class CascadePoint:
    """A cascade at one threshold.

    Attributes:
        loss, loss_error: accuracy less than at the last stage, and its standard error (the same rows, so paired).
        cost: of a row, on average, in the unit of the encoders' costs.
        stopped: share of rows that stop at each stage.
    """

    threshold: float
    accuracy: float
    loss: float
    loss_error: float
    cost: float
    stopped: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FusionReport:
    """What stands beside the figures of a fused head. `to_json` gives plain values.

    Attributes:
        rows: rows that were looked at.
        members: figures of each encoder alone, by name.
        singles: likewise of classifiers that play no part in the fusion, such as the same with another norm.
        rules: figures of every rule by name; "…, calibrated" with the members' temperatures.
        oracle: share of rows that any member gets right: the bound of choosing a member for every row.
        oracle_gain: that less the best single member.
        independent_oracle: the control, see `independent_oracle`.
        disagreement: share of rows on which two members differ, (B, B).
        q_statistic: Yule's Q of two members' being right, (B, B), see `q_statistics`.
        cascade: `cascade_curve`; empty for other rules.
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

    def to_json(self) -> dict[str, Any]:
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
    """The report on scores (n ≥ 1, B, K) of members with `names` (B,), -inf where a member lacks a class.

    Args:
        codes: true classes (n,).
        temperatures, weights: of the members, (B,), learned on other rows.
        singles: scores (n, K) of others, by name.
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
    """Figures of every rule that needs no more than temperatures and weights; arguments as in `fusion_report`."""
    plain, calibrated = filled(log_softmax(scores)), filled(log_softmax(scores, temperatures))
    found = {}
    for name, rule in RULES.items():
        found[name] = Quality.of(rule(plain), codes)
        found[f"{name}, calibrated"] = Quality.of(rule(calibrated), codes)
    return found | {"stack": Quality.of(weighted(calibrated, weights.astype(scores.dtype)), codes)}


def oracle_accuracy(right: NDArray[np.bool_]) -> float:
    """Share of rows that any member gets right ("informed selection"), from who is right (n, B)."""
    return float(right.any(axis=1).mean())


def independent_oracle(right: NDArray[np.bool_], codes: NDArray[np.integer[Any]]) -> float:
    """The oracle to expect of members as good as these, class by class, whose errors had nothing to do with each other.

    Any set of weak members has a high oracle, and it grows with their number. This is what `right` (n, B) would give
    on average if each member's column were shuffled within every class. An oracle far below it says that members fail
    on the same rows; one near it, that its gain is no more than many tries bring. For the other control, refits of one
    encoder with several seeds, give their predictions to `oracle_accuracy`.
    """
    classes, own, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    hits = np.zeros((len(classes), right.shape[1]))
    np.add.at(hits, own, right)
    missed = np.prod(1 - hits / sizes[:, None], axis=1)
    return float(1 - np.sum(missed * sizes) / len(codes))


def disagreements(predicted: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Share of rows on which two members choose different classes, (B, B), from choices (n, B)."""
    return np.asarray((predicted[:, :, None] != predicted[:, None, :]).mean(axis=0))


def q_statistics(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Yule's Q of two members' being right, (B, B), from (n, B): 1 where they fail together, 0 independent, -1 apart.

    (N₁₁ N₀₀ - N₀₁ N₁₀) / (N₁₁ N₀₀ + N₀₁ N₁₀), Kuncheva and Whitaker 2003; 0 where that is 0 / 0.
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
    """A cascade at every threshold: stage scores (n ≥ 1, S, K), true codes (n,), costs `spent` at each stage (S,)."""
    rows, stages = np.arange(len(codes)), stage_scores.shape[1]
    sure, right = sureness(stage_scores), stage_scores.argmax(axis=2) == codes[:, None]
    points = []
    for threshold in thresholds:
        stage = stopping(sure, threshold)
        stopped = np.bincount(stage, minlength=stages) / len(codes)
        won = right[rows, stage]
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
    """The reports of one or more splits as Markdown: accuracy and NLL side by side, and what a cascade costs.

    Of the cascade the cheapest point of each run of equal accuracies.
    """
    columns = [cells(report) for report in reports.values()]
    heads = [f"{figure}, {split}" for split in reports for figure in ("accuracy", "NLL")]
    lines = ["", "## What fusing is worth", "", row("", *heads), row(*["---"] * (len(heads) + 1))]
    lines += [row(name, *(cell for column in columns for cell in column[name])) for name in columns[0]]
    split, last = list(reports.items())[-1]
    if last.cascade:
        lines += ["", f"## What the cascade costs, {split}", ""]
        lines += [row("stops at", "mean cost", "accuracy"), row(*["---"] * 3)]
        accuracies = [None, *(point.accuracy for point in last.cascade)]
        changes = [point for point, before in zip(last.cascade, accuracies, strict=False) if point.accuracy != before]
        lines += [row(f"{point.threshold:.4f}", f"{point.cost:.3f}", f"{point.accuracy:.4f}") for point in changes]
    return lines


def cells(report: FusionReport) -> dict[str, tuple[str, str]]:
    """Accuracy and NLL of everything in a report, by name."""
    found = {**report.members, **report.singles, **report.rules}
    shown = {name: (f"{each.accuracy:.4f}", f"{each.nll:.4f}") for name, each in found.items()}
    oracles = {"oracle": report.oracle, "oracle, were errors independent": report.independent_oracle}
    return shown | {name: (f"{value:.4f}", "") for name, value in oracles.items()}


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
