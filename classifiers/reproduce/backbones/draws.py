"""The draws of one regime: the backbones learn, the rules are fitted, and all of them answer for the test rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.fusion.cascade import stopping, sureness
from classifiers.heads.fusion.combiner import Combiner
from classifiers.heads.fusion.rules import log_softmax
from classifiers.reproduce.backbones.judged import JUDGING, Judged, fitted, member_scores
from classifiers.reproduce.backbones.regimes import Regime
from classifiers.reproduce.backbones.rules import (
    CASCADE,
    NLC,
    STACK,
    SideBySide,
    fit_prefix,
    fit_rules,
    refitted,
)

Predicted = NDArray[np.int64]
OnStep = Callable[[str], None]
"""Called with what was done, after each of the `STEPS` of a draw."""

STEPS = ("backbones", "rules", "prefixes", "controls")

PREFIXES = {NLC: "nlc", STACK: "stack"}
"""The rules that are fitted on the first backbones alone: their names here, and in a head."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The answers for m test rows, from one draw of the rows on which the rules are fitted.

    Attributes:
        rule_rows: number of these rows.
        best: number of the backbone that is right on the most of these rows.
        plain: class by each backbone in the other representation, (m, B).
        alone: class by each backbone in the representation that is fused, (m, B).
        rules: class by each rule and control, (m,) each.
        prefixes: class by a rule for the 1, …, B cheapest backbones, (m, B), by rule.
        refits: class by B heads on the best backbone, each from resampled rows, (m, B); None without training.
        cascade_cost: mean cost of a test row with the cascade.
    """

    rule_rows: int
    best: int
    plain: Predicted
    alone: Predicted
    rules: dict[str, Predicted]
    prefixes: dict[str, Predicted]
    refits: Predicted | None
    cascade_cost: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """All draws of one regime.

    Attributes:
        reasons: why a control could not learn, by its name.
    """

    regime: Regime
    draws: tuple[Draw, ...]
    reasons: dict[str, str]


def draw_one(regime: Regime, rule_rows: str, seed: tuple[int, int], sides: SideBySide, on_step: OnStep) -> Draw:
    """Return one draw. Its rows depend on `seed`, which has the seed and the number of the draw."""
    data = regime.data
    judged = JUDGING[rule_rows](regime.fused[1], data, np.random.default_rng(seed))
    plain = fitted(regime.plain[1], data, judged.learning)
    on_step("backbones")
    scores = member_scores(judged.members, data.tested, len(data.classes))
    rules = fit_rules(judged, data, seed[1])
    answers = {name: rule.scores(scores, data.tested).argmax(axis=1) for name, rule in rules.items()}
    on_step("rules")
    prefixes = {name: _prefixes(name, judged, scores, answers[name], regime, seed[1]) for name in PREFIXES}
    on_step("prefixes")
    controls = sides.predicted(np.arange(len(data.codes)) if regime.refit else judged.rows)
    draw = Draw(
        rule_rows=len(judged.rows),
        best=judged.best(),
        plain=member_scores(plain, data.tested, len(data.classes)).argmax(axis=2),
        alone=scores.argmax(axis=2),
        rules=answers | controls,
        prefixes=prefixes,
        refits=_refits(regime, judged, seed[1]),
        cascade_cost=mean_cost(rules[CASCADE], scores),
    )
    on_step("controls")
    return draw


def _prefixes(
    name: str, judged: Judged, scores: NDArray[np.float32], whole: Predicted, regime: Regime, seed: int
) -> Predicted:
    """Return the class of each test row by a rule for the 1, …, B cheapest backbones, (m, B)."""

    def between() -> Iterator[Predicted]:
        for count in range(2, scores.shape[1]):
            rule = fit_prefix(PREFIXES[name], count, judged, regime.data, seed)
            yield rule.scores(scores[:, :count], regime.data.tested[:count]).argmax(axis=1)

    return np.stack([scores[:, 0].argmax(axis=1), *between(), whole], axis=1)


def _refits(regime: Regime, judged: Judged, seed: int) -> Predicted | None:
    if regime.refit is None:
        return None
    data, best, learning = regime.data, judged.best(), judged.learning
    again, member = regime.refit, judged.members[best]
    X, T = data.blocks[best][learning], data.tested[best]
    return refitted(lambda: again(member), X, data.codes[learning], T, len(data.names), seed)


def mean_cost(rule: Combiner, scores: NDArray[np.float32]) -> float:
    """Return the mean cost of a row with a cascade, from the scores of its members (m, B, K)."""
    cascade = rule.cascade
    if cascade is None:
        raise ValueError(f"the rule {rule.rule!r} is no cascade")
    steps = cascade.step_scores(log_softmax(scores, rule.temperatures))
    return float(cascade.spent()[stopping(sureness(steps), cascade.threshold)].mean())
