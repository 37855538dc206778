"""The experiment on the vectors of one encoder: ablations on validation rows, then one look at the test rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.kmeans import MOST_FROM_A_QUARTER
from classifiers.errors import NotTrainable
from classifiers.fit.discrimination.recipe import LOSSES, Recipe
from classifiers.reproduce.mlcd.judges import JUDGES, Verdict
from classifiers.reproduce.mlcd.quality import Quality, quality
from classifiers.reproduce.mlcd.rows import Learning, Parts, learning_rows, parts_of
from classifiers.reproduce.mlcd.spaces import CONTROLS, Space, Variant, thresholds
from classifiers.reproduce.mlcd.texts import Share, zero_shot
from classifiers.training.rows.rows import Rows

SHARES = (400, 100, 50, 20, 10, 4)
"""Rows for each cluster by default: 400 as on LAION-400M, 4 as on ImageNet-1k."""
NEAREST = (1, 2, 4, 8, 16)
NEGATIVES = (0.01, 0.1, 0.5, 1.0)
POSITIVES = (2, 4, 8, 16)
"""Average numbers of positives, for which thresholds are found by default."""
SEEDS = 3

ABLATIONS = ("clusters", "nearest", "threshold", "negatives", "loss")

OnStep = Callable[[int, int, str], None]
"""A function that is called with (number of steps done, number of all steps, name of the current step)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        recipe: recipe of all adapters where a table does not say otherwise.
        clusters, nearest, negatives, thresholds: values of k, l, r and the threshold; () for those by default. The
            other tables have the largest k.
        ablations: names of `ABLATIONS` to run.
        seeds: number of seeds on test rows, from that of the recipe on.
        everything: learn from training rows of all tasks, instead of those of this task.
    """

    recipe: Recipe = field(default_factory=Recipe)
    clusters: tuple[int, ...] = ()
    nearest: tuple[int, ...] = NEAREST
    negatives: tuple[float, ...] = NEGATIVES
    thresholds: tuple[float, ...] = ()
    ablations: tuple[str, ...] = ABLATIONS
    seeds: int = SEEDS
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """Vectors of one sort, and the verdict of each judge on the validation rows, by the judge's name."""

    space: Space
    verdicts: Mapping[str, Verdict]

    @property
    def score(self) -> float:
        """Mean accuracy of the judges."""
        return float(np.mean([each.right.mean() for each in self.verdicts.values()]))


@dataclass(frozen=True, slots=True)
class Tested:
    """Vectors of one sort on the test rows, with one trial for each seed; controls have one.

    Attributes:
        trials: what was chosen on validation rows.
        right: name of a judge → True for each test row that it classifies correctly, (trials, m).
    """

    trials: tuple[Trial, ...]
    right: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one encoder.

    Attributes:
        learned: number of rows that adapters learned from.
        base: the adapter from which each ablation changes one thing.
        controls: trials of the vectors without an adapter, by name.
        ablations: name → value of what was changed, the variant, and its trial.
        chosen: the variant with the highest mean accuracy on validation rows.
        tested: name → results on test rows.
        quality: clusterings of the ablation of k, or of the base.
        zero_shot: accuracy on test rows; None for an encoder without a text side.
    """

    encoder: str
    parts: Parts
    learned: int
    base: Variant
    controls: Mapping[str, Trial]
    ablations: Mapping[str, Sequence[tuple[str, Variant, Trial]]]
    chosen: Variant
    tested: Mapping[str, Tested]
    quality: Sequence[Quality]
    zero_shot: Share | None


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
        return Trial(space, {judge.name: judge.on_validation(space, self.parts) for judge in JUDGES})

    def trial(self, variant: Variant) -> Trial:
        """Return the trial of a variant, which is learned at the first call."""
        if variant not in self.trials:
            self.step(f"adapter of {variant.clusters} clusters, {variant.recipe.loss}, l = {variant.recipe.nearest}")
            self.trials[variant] = self.judged(variant.learn(self.learning))
        return self.trials[variant]

    def tested(self, trials: Sequence[Trial]) -> Tested:
        """Return the results of trials on the test rows."""
        right = {
            judge.name: np.stack(
                [judge.on_test(each.space, self.parts, each.verdicts[judge.name].setting) for each in trials]
            )
            for judge in JUDGES
        }
        return Tested(tuple(trials), right)


def study(rows: Rows, request: Request, on_step: OnStep = lambda *_: None) -> Found:
    """Run the experiment on the vectors of the one encoder of `rows`.

    Raises NotTrainable, BadParameter, UnknownTask, UnknownFeatures: rows or values with which it cannot be done.
    """
    [features] = rows.features
    on_step(0, 1, f"{features.name}: reading rows")
    parts, view = parts_of(rows)
    learning = learning_rows(view, everything=request.everything)
    ks = request.clusters or default_clusters(len(learning.X))
    if min(ks) < 3 or max(ks) > len(learning.X):
        raise NotTrainable(f"{min(ks)} to {max(ks)} clusters cannot be tried; ask for 3 to {len(learning.X)}")
    base = Variant(max(ks), request.recipe)
    variants = ablated(base, ks, request, learning)
    alike = compared(base)
    planned = {each for table in variants.values() for _, each in table} | set(alike.values())
    total = len(planned) + len(CONTROLS) + (request.seeds - 1) * (len(alike) + 1) + 1
    bench = Bench(learning, parts, total, on_step)
    controls = {}
    for name, control in CONTROLS.items():
        bench.step(name)
        controls[name] = bench.judged(control(learning, base.recipe.dim))
    trials = {name: [(value, each, bench.trial(each)) for value, each in table] for name, table in variants.items()}
    for each in alike.values():
        bench.trial(each)
    chosen = max(bench.trials, key=lambda each: bench.trials[each].score)
    tested = {name: bench.tested([trial]) for name, trial in controls.items()}
    for name, variant in {**alike, "chosen": chosen}.items():
        seeds = [variant.changed(seed=request.recipe.seed + number) for number in range(request.seeds)]
        tested[name] = bench.tested([bench.trial(each) for each in seeds])
    bench.step("clusters and texts")
    return Found(
        encoder=features.name,
        parts=parts,
        learned=len(learning.X),
        base=base,
        controls=controls,
        ablations=trials,
        chosen=chosen,
        tested=tested,
        quality=[
            quality(learning, parts.train, len(parts.classes), k, base.recipe.nearest, base.recipe.seed)
            for k in (ks if "clusters" in variants else (base.clusters,))
        ],
        zero_shot=None if features.spec.text is None else _zero_shot(rows, parts.classes, request.recipe.seed),
    )


def _zero_shot(rows: Rows, classes: tuple[str, ...], seed: int) -> Share:
    right = zero_shot(rows, classes, "test")
    return Share.of(float(right.mean()), len(right), seed)


def default_clusters(rows: int) -> tuple[int, ...]:
    """Return numbers of clusters from a 400th of the rows to a quarter, at least 3 and at most 4,096 each."""
    return tuple(sorted({min(max(3, rows // share), MOST_FROM_A_QUARTER) for share in SHARES}))


def ablated(
    base: Variant, ks: Sequence[int], request: Request, learning: Learning
) -> dict[str, list[tuple[str, Variant]]]:
    """Return for each ablation that is asked for the values and the variants, each of which differs in one thing."""
    seed = base.recipe.seed
    tables: dict[str, Callable[[], list[tuple[str, Variant]]]] = {
        "clusters": lambda: [(f"{k:,}", replace(base, clusters=k)) for k in ks],
        "nearest": lambda: [(str(l), base.changed(nearest=l)) for l in request.nearest],  # noqa: E741 - the paper's l
        "threshold": lambda: [
            (f"{value:.3g}", replace(base, threshold=value))
            for value in request.thresholds or thresholds(learning, base.clusters, seed, POSITIVES)
        ],
        "negatives": lambda: [
            (f"{share:g}", base.changed(negatives=share, least_negatives=1)) for share in request.negatives
        ],
        "loss": lambda: [(loss, base.changed(loss=loss)) for loss in LOSSES],
    }
    return {name: tables[name]() for name in request.ablations}


def compared(base: Variant) -> dict[str, Variant]:
    """Return the adapters that are measured on test rows whatever validation says."""
    return {
        "MLCD": base,
        "MLCD, l = 1": base.changed(nearest=1),
        "MLC": base.changed(loss="mlc"),
        "UNICOM": base.changed(loss="unicom"),
    }
