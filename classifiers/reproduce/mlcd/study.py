"""The experiment on the vectors of one encoder: ablations on validation rows, then one look at the test rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from classifiers.reproduce.mlcd.judges import Verdict, judges_of
from classifiers.reproduce.mlcd.outcomes import Outcome
from classifiers.reproduce.mlcd.plan import Plan, Request
from classifiers.reproduce.mlcd.quality import Quality, quality
from classifiers.reproduce.mlcd.rows import Learning, Parts, learning_rows, parts_of
from classifiers.reproduce.mlcd.spaces import CONTROLS, Space, Variant
from classifiers.reproduce.mlcd.texts import Share, zero_shot
from classifiers.training.rows.rows import Rows

OnStep = Callable[[int, int, str], None]
"""A function that is called with (number of steps done, number of all steps, name of the current step)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Vectors of one sort, and the verdict of each judge on the validation rows, by the judge's name."""

    space: Space
    verdicts: Mapping[str, Verdict]

    @property
    def score(self) -> float:
        """Mean accuracy or mAP of the judges."""
        return float(np.mean([each.outcome.value for each in self.verdicts.values()]))


@dataclass(frozen=True, slots=True)
class Tested:
    """Vectors of one sort on the test rows, with one trial for each seed; controls have one.

    Attributes:
        trials: what was chosen on validation rows.
        outcomes: name of a judge → its outcome on test rows, with as many seeds as trials.
    """

    trials: tuple[Trial, ...]
    outcomes: Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one encoder.

    Attributes:
        learned: number of rows that adapters learned from.
        plan: the adapters that were learned.
        controls: trials of the vectors without an adapter, by name.
        ablations: name → value of what was changed, the variant, and its trial.
        chosen: the variant with the highest score on validation rows.
        tested: name → results on test rows.
        quality: clusterings of the ablation of k, or of the base.
        zero_shot: accuracy on test rows; None for an encoder without a text side, and for any number of labels.
    """

    encoder: str
    parts: Parts
    learned: int
    plan: Plan
    controls: Mapping[str, Trial]
    ablations: Mapping[str, Sequence[tuple[str, Variant, Trial]]]
    chosen: Variant
    tested: Mapping[str, Tested]
    quality: Sequence[Quality]
    zero_shot: Share | None

    @property
    def outcomes(self) -> dict[str, Mapping[str, Outcome]]:
        """Name of the vectors → name of a judge → outcome on test rows."""
        return {name: tested.outcomes for name, tested in self.tested.items()}

    @property
    def figure(self) -> str:
        """Name of the figure that judges give: accuracy or mAP."""
        return judges_of(self.parts)[0].outcome.figure


@dataclass
class Bench:
    """The rows of one encoder, and the trials so far."""

    learning: Learning
    parts: Parts
    total: int
    on_step: OnStep
    done: int = 0
    trials: dict[Variant, Trial] = field(default_factory=dict)

    def step(self, what: str) -> None:
        self.on_step(self.done, self.total, f"{self.learning.encoder}: {what}")
        self.done += 1

    def judged(self, space: Space) -> Trial:
        return Trial(space, {judge.name: judge.on_validation(space, self.parts) for judge in judges_of(self.parts)})

    def controls(self, dim: int) -> dict[str, Trial]:
        """Return the trials of all vectors that need no adapter."""
        found = {}
        for name, control in CONTROLS.items():
            self.step(name)
            found[name] = self.judged(control(self.learning, dim))
        return found

    def trial(self, variant: Variant) -> Trial:
        """Return the trial of a variant, which is learned at the first call."""
        if variant not in self.trials:
            self.step(f"adapter of {variant.clusters} clusters, {variant.recipe.loss}, l = {variant.recipe.nearest}")
            self.trials[variant] = self.judged(variant.learn(self.learning))
        return self.trials[variant]

    def best(self) -> Variant:
        """Return the variant with the highest score so far."""
        return max(self.trials, key=lambda each: self.trials[each].score)

    def tested(self, trials: Sequence[Trial]) -> Tested:
        """Return the results of trials on the test rows."""
        outcomes = {
            judge.name: judge.outcome.joined(
                [judge.on_test(each.space, self.parts, each.verdicts[judge.name].setting) for each in trials]
            )
            for judge in judges_of(self.parts)
        }
        return Tested(tuple(trials), outcomes)


def study(rows: Rows, request: Request, on_step: OnStep = lambda *_: None) -> Found:
    """Run the experiment on the vectors of the one encoder of `rows`.

    Raises NotTrainable, BadParameter, UnknownTask, UnknownFeatures: rows or values with which it cannot be done.
    """
    [features] = rows.features
    on_step(0, 1, f"{features.name}: reading rows")
    parts, view = parts_of(rows)
    texts = features.spec.text is not None and parts.exclusive
    named = _zero_shot(rows, parts.classes, request.recipe.seed) if texts else None
    learning = learning_rows(view, everything=request.everything)
    plan = Plan.of(request, learning)
    bench = Bench(learning, parts, plan.steps, on_step)
    controls = bench.controls(plan.base.recipe.dim)
    ablations = {
        name: [(value, each, bench.trial(each)) for value, each in table] for name, table in plan.ablations.items()
    }
    for each in plan.compared.values():
        bench.trial(each)
    chosen = bench.best()
    return Found(
        encoder=features.name,
        parts=parts,
        learned=len(learning.X),
        plan=plan,
        controls=controls,
        ablations=ablations,
        chosen=chosen,
        tested=_on_test(bench, plan, controls, chosen),
        quality=_qualities(bench, plan),
        zero_shot=named,
    )


def _on_test(bench: Bench, plan: Plan, controls: Mapping[str, Trial], chosen: Variant) -> dict[str, Tested]:
    """Return the results on test rows by name: of each control, and of adapters with each seed."""
    found = {name: bench.tested([trial]) for name, trial in controls.items()}
    for name, variant in {**plan.compared, "chosen": chosen}.items():
        found[name] = bench.tested([bench.trial(variant.changed(seed=seed)) for seed in plan.seeds])
    return found


def _qualities(bench: Bench, plan: Plan) -> list[Quality]:
    bench.step("quality of the clusters")
    recipe = plan.base.recipe
    return [quality(bench.learning, bench.parts, k, recipe.nearest, recipe.seed) for k in plan.measured]


def _zero_shot(rows: Rows, classes: tuple[str, ...], seed: int) -> Share:
    right = zero_shot(rows, classes, "test")
    return Share.of(float(right.mean()), len(right), seed)
