"""The figures of one regime: means over the draws, with intervals over the test rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.paired import paired_difference
from classifiers.evaluation.reports.fusion import disagreements, independent_oracle, q_statistics
from classifiers.reproduce.backbones.draws import Draw, Drawn
from classifiers.reproduce.backbones.rules import NLC, STACK


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over draws and test rows.

    Attributes:
        low, high: 95 % bootstrap interval over resampled test rows, of the mean over the draws.
        deviation: standard deviation of the draws' means; 0 for one draw.
    """

    mean: float
    low: float
    high: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[NDArray[Any]]) -> Self:
        """Return the figure of one value for each test row, (m,), in each draw."""
        each = np.array(values, np.float64)
        found = paired_difference(each.mean(axis=0))
        means = each.mean(axis=1)
        return cls(found.mean, found.low, found.high, float(means.std(ddof=1)) if len(means) > 1 else 0.0)

    @property
    def by_chance(self) -> bool:
        """True if the interval contains 0."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Pair:
    """Two backbones: the share of test rows for which they choose different classes, and Yule's Q."""

    names: tuple[str, str]
    disagreement: float
    q: float


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class: its test rows, and the accuracy of each backbone on them, (B,)."""

    name: str
    rows: int
    accuracy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one regime. Gains are differences of accuracy in 0…1 on the same rows.

    Attributes:
        regime, about: its name, and a sentence on its representations.
        backbones: names, (B,), cheapest first.
        representations: the names of the other representation, and of the one that is fused.
        test_rows, rule_rows: number of test rows, and of rows that each draw fits the rules on.
        plain, alone: accuracy of each backbone in the other representation, and in the one that is fused, (B,).
        normalising: gain of the second over the first, (B,).
        chosen: number of draws in which each backbone is the best single one on the rule rows, (B,).
        single, single_cost: accuracy and mean cost of the best single backbone, as each draw chooses it.
        rules, boosts: accuracy of every rule and control, and its gain over the best single backbone.
        beyond_stacking: gain of NLC over the Super Learner.
        oracle, gap: accuracy if any backbone is right, and its gain over the best single backbone.
        shuffled: oracle if the same errors were independent within each class, see `independent_oracle`.
        refits: gain of the oracle of B refits of the best backbone over that backbone; None without training.
        beyond_refits: the oracle of the backbones minus that of the refits; None without training.
        pairs: every pair of backbones.
        right: mean number of test rows for each set of backbones that are right, by their numbers, most rows first.
        classes: every class with test rows.
        prefixes, prefix_gains: accuracy of a rule for the 1, …, B cheapest backbones, and its gain over the best single
            backbone, by rule.
        spent: their cost.
        cascade_cost: mean cost of a test row with the cascade.
    """

    regime: str
    about: str
    backbones: tuple[str, ...]
    representations: tuple[str, str]
    test_rows: int
    rule_rows: int
    plain: tuple[Figure, ...]
    alone: tuple[Figure, ...]
    normalising: tuple[Figure, ...]
    chosen: tuple[int, ...]
    single: Figure
    single_cost: float
    rules: dict[str, Figure]
    boosts: dict[str, Figure]
    beyond_stacking: Figure
    oracle: Figure
    gap: Figure
    shuffled: float
    refits: Figure | None
    beyond_refits: Figure | None
    pairs: tuple[Pair, ...]
    right: tuple[tuple[tuple[int, ...], float], ...]
    classes: tuple[ClassFigures, ...]
    prefixes: dict[str, tuple[Figure, ...]]
    prefix_gains: dict[str, tuple[Figure, ...]]
    spent: tuple[float, ...]
    cascade_cost: float

    @property
    def trained(self) -> bool:
        """True if the backbones learned from labels, False for zero-shot scores."""
        return self.refits is not None

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON-serialisable values."""
        right = [{"backbones": [self.backbones[b] for b in who], "rows": rows} for who, rows in self.right]
        return {**asdict(self), "right": right}


def figures(drawn: Drawn) -> Figures:
    """Return the figures of all draws of a regime."""
    data, draws = drawn.regime.data, drawn.draws
    members = range(len(data.names))
    plain = [_right(draw.plain, data.truth) for draw in draws]
    alone = [_right(draw.alone, data.truth) for draw in draws]
    single = [right[:, draw.best] for right, draw in zip(alone, draws, strict=True)]
    rules = {name: [draw.rules[name] == data.truth for draw in draws] for name in _common(draws)}
    prefixes = {name: _prefixes([draw.prefixes[name] for draw in draws], data.truth) for name in draws[0].prefixes}
    refits = [_any(_right(draw.refits, data.truth)) for draw in draws if draw.refits is not None]
    any_right = [_any(right) for right in alone]
    return Figures(
        regime=drawn.regime.name,
        about=drawn.regime.about,
        backbones=data.names,
        representations=(drawn.regime.plain[0], drawn.regime.fused[0]),
        test_rows=len(data.truth),
        rule_rows=min(draw.rule_rows for draw in draws),
        plain=tuple(Figure.of([right[:, b] for right in plain]) for b in members),
        alone=tuple(Figure.of([right[:, b] for right in alone]) for b in members),
        normalising=tuple(_gain([a[:, b] for a in alone], [p[:, b] for p in plain]) for b in members),
        chosen=tuple(sum(draw.best == b for draw in draws) for b in members),
        single=Figure.of(single),
        single_cost=float(np.mean([data.costs[draw.best] for draw in draws])),
        rules={name: Figure.of(right) for name, right in rules.items()},
        boosts={name: _gain(right, single) for name, right in rules.items()},
        beyond_stacking=_gain(rules[NLC], rules[STACK]),
        oracle=Figure.of(any_right),
        gap=_gain(any_right, single),
        shuffled=float(np.mean([independent_oracle(right, data.truth) for right in alone])),
        refits=_gain(refits, single) if refits else None,
        beyond_refits=_gain(any_right, refits) if refits else None,
        pairs=_pairs(draws, alone, data.names),
        right=who_is_right(alone),
        classes=_classes(alone, data.truth, data.classes),
        prefixes={name: tuple(map(Figure.of, each)) for name, each in prefixes.items()},
        prefix_gains={name: tuple(_gain(right, single) for right in each) for name, each in prefixes.items()},
        spent=tuple(np.cumsum(data.costs).tolist()),
        cascade_cost=float(np.mean([draw.cascade_cost for draw in draws])),
    )


def _right(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(predicted == truth[:, None])


def _any(right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(right.any(axis=1))


def _common(draws: Sequence[Draw]) -> list[str]:
    """Return the rules that every draw has, in order."""
    return [name for name in draws[0].rules if all(name in draw.rules for draw in draws)]


def _gain(better: Sequence[NDArray[Any]], worse: Sequence[NDArray[Any]]) -> Figure:
    return Figure.of([a.astype(np.float64) - b for a, b in zip(better, worse, strict=True)])


def _pairs(draws: Sequence[Draw], alone: Sequence[NDArray[np.bool_]], names: tuple[str, ...]) -> tuple[Pair, ...]:
    apart = np.mean([disagreements(draw.alone) for draw in draws], axis=0)
    q = np.mean([q_statistics(right) for right in alone], axis=0)
    pairs = [(a, b) for b in range(len(names)) for a in range(b)]
    return tuple(Pair((names[a], names[b]), float(apart[a, b]), float(q[a, b])) for a, b in pairs)


def who_is_right(alone: Sequence[NDArray[np.bool_]]) -> tuple[tuple[tuple[int, ...], float], ...]:
    """Return the mean number of rows for each set of members that are right, most rows first.

    Args:
        alone: for each draw, true where a member is right, (m, B).
    """
    counts = Counter(tuple(np.flatnonzero(row).tolist()) for right in alone for row in right)
    return tuple((who, rows / len(alone)) for who, rows in counts.most_common())


def _classes(
    alone: Sequence[NDArray[np.bool_]], truth: NDArray[np.int64], names: tuple[str, ...]
) -> tuple[ClassFigures, ...]:
    mean = np.mean(alone, axis=0)
    of_class = {int(code): mean[truth == code] for code in np.unique(truth)}
    return tuple(
        ClassFigures(names[code], len(rows), tuple(rows.mean(axis=0).tolist())) for code, rows in of_class.items()
    )


def _prefixes(answers: Sequence[NDArray[np.int64]], truth: NDArray[np.int64]) -> list[list[NDArray[np.bool_]]]:
    """Return for each number of backbones, and each draw, which test rows are right, (m,)."""
    right = [_right(each, truth) for each in answers]
    return [[each[:, count] for each in right] for count in range(right[0].shape[1])]
