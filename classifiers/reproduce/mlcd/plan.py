"""Which adapters are learned: one to compare others with, and for each ablation those that differ in one thing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from classifiers.clustering.kmeans import MOST_FROM_A_QUARTER
from classifiers.errors import NotTrainable
from classifiers.fit.discrimination.losses import NONE
from classifiers.fit.discrimination.recipe import LOSSES, Recipe
from classifiers.reproduce.mlcd.rows import Learning
from classifiers.reproduce.mlcd.spaces import CONTROLS, Variant, thresholds

ROWS_PER_CLUSTER = (400, 100, 50, 20, 10, 4)
"""The paper's best numbers of clusters have 390 rows for each on LAION-400M, and 4 on ImageNet-1k."""
LEAST_CLUSTERS = 3
NEAREST = (1, 2, 4, 8, 16)
NEGATIVES = (0.01, 0.1, 0.5, 1.0)
POSITIVES = (2, 4, 8, 16)
"""Average numbers of positives, for which thresholds are found by default."""
SEEDS = 3

Tables = dict[str, list[tuple[str, Variant]]]
"""Name of an ablation → the value of what is changed, as it is shown, and the adapter with it."""


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
    ablations: tuple[str, ...] = ()
    seeds: int = SEEDS
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The adapters to learn from some rows.

    Attributes:
        clusters: numbers of clusters k.
        base: the adapter from which each ablation changes one thing.
        ablations: those that were asked for.
        compared: adapters that are measured on test rows whatever validation says, by name.
        seeds: seeds of the adapters on test rows.
    """

    clusters: tuple[int, ...]
    base: Variant
    ablations: Tables
    compared: Mapping[str, Variant]
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, request: Request, learning: Learning) -> Self:
        """Return the plan for these rows. Raises NotTrainable for more clusters than rows."""
        ks, rows = request.clusters or default_clusters(len(learning.X)), len(learning.X)
        if not LEAST_CLUSTERS <= min(ks) <= max(ks) <= rows:
            raise NotTrainable(
                f"{min(ks)} to {max(ks)} clusters cannot be made of {rows} rows; ask for {LEAST_CLUSTERS} to {rows}"
            )
        base = Variant(max(ks), request.recipe)
        first = request.recipe.seed
        return cls(
            clusters=ks,
            base=base,
            ablations={name: ABLATIONS[name](base, ks, request, learning) for name in request.ablations},
            compared={
                "MLCD": base,
                "MLCD, l = 1": base.changed(nearest=1),
                "MLC": base.changed(loss="mlc"),
                "UNICOM": base.changed(loss="unicom"),
            },
            seeds=tuple(range(first, first + request.seeds)),
        )

    @property
    def steps(self) -> int:
        """Maximum number of steps: each adapter and each control once, other seeds of those on test, and clusters."""
        first = {each for table in self.ablations.values() for _, each in table} | set(self.compared.values())
        return len(first) + len(CONTROLS) + (len(self.seeds) - 1) * (len(self.compared) + 1) + 1

    @property
    def measured(self) -> tuple[int, ...]:
        """The numbers of clusters whose quality is measured."""
        return self.clusters if "clusters" in self.ablations else (self.base.clusters,)


def default_clusters(rows: int) -> tuple[int, ...]:
    """Return numbers of clusters from a 400th of the rows to a quarter, at least 3 and at most 4,096 each."""
    each = (min(max(LEAST_CLUSTERS, rows // share), MOST_FROM_A_QUARTER) for share in ROWS_PER_CLUSTER)
    return tuple(sorted(set(each)))


Ablate = Callable[[Variant, Sequence[int], Request, Learning], list[tuple[str, Variant]]]


def _clusters(base: Variant, ks: Sequence[int], _: Request, __: Learning) -> list[tuple[str, Variant]]:
    return [(f"{k:,}", replace(base, clusters=k)) for k in ks]


def _nearest(base: Variant, _: Sequence[int], request: Request, __: Learning) -> list[tuple[str, Variant]]:
    return [(str(count), base.changed(nearest=count)) for count in request.nearest]


def _threshold(base: Variant, _: Sequence[int], request: Request, learning: Learning) -> list[tuple[str, Variant]]:
    values = request.thresholds or thresholds(learning, base.clusters, base.recipe.seed, POSITIVES)
    variants = [replace(base, threshold=value) for value in values]
    counts = [(each.positives(learning) != NONE).sum(axis=1).mean() for each in variants]
    return [(f"{each.threshold:.3g} ({count:.1f})", each) for each, count in zip(variants, counts, strict=True)]


def _negatives(base: Variant, _: Sequence[int], request: Request, __: Learning) -> list[tuple[str, Variant]]:
    return [(f"{share:g}", base.changed(negatives=share, least_negatives=1)) for share in request.negatives]


def _loss(base: Variant, _: Sequence[int], __: Request, ___: Learning) -> list[tuple[str, Variant]]:
    return [(loss, base.changed(loss=loss)) for loss in LOSSES]


ABLATIONS: Mapping[str, Ablate] = {
    "clusters": _clusters,
    "nearest": _nearest,
    "threshold": _threshold,
    "negatives": _negatives,
    "loss": _loss,
}
