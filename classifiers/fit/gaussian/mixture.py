"""Mixture heads as a scikit-learn estimator: Gaussians in closed form, then training to separate the classes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from classifiers.errors import BadVectors, NotTrainable
from classifiers.fit.base import HeadClassifier, encode, names
from classifiers.fit.gaussian.mixture_features import Diagonal, Features, Linear, Spherical, all_products
from classifiers.fit.gaussian.mixture_metric import LEAST_VARIANCE, Metric, MetricName, Standardised, Whitened
from classifiers.fit.gaussian.mixture_start import Components, one_each, several
from classifiers.fit.gaussian.mixture_training import Problem, Trained, trained
from classifiers.fit.gaussian.parallel import gather, shares
from classifiers.fit.gaussian.parameters import check_mixture
from classifiers.fit.transform import Dims, Projection, TransformPlan
from classifiers.heads.gaussian.covariance import mean_variance, pooled
from classifiers.heads.gaussian.mixture import MixtureHead, Model, parameter_count
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.quadratic import Quadratic, of_classes
from classifiers.heads.gaussian.statistics import NOISE
from classifiers.heads.transform import Transform

MOST_CELLS = 2**26
"""Most weights of SDGM-F: 512 MB in float64."""
LARGEST = 1e18
"""Size of values from which training refuses; sums of squares of a little larger ones overflow in a float32 head."""


class Setting(NamedTuple):
    """The parameters of `MixtureClassifier` that `MixtureClassifier.path` varies."""

    shrinkage: float
    power: float
    C: float


class MixtureClassifier(HeadClassifier):
    """G Gaussians for each class, trained discriminatively from a start in closed form: DGMMC-S, arXiv 2410.13421.

    Training is in natural parameters, in which one Gaussian for each class is a convex problem. It minimises the
    cross-entropy plus ‖θ - θ₀‖² / (2 C n) by L-BFGS, so the training loss never ends above that of the start θ₀. The
    start has spherical Gaussians of one variance for all classes, whose likelihood is raised to a power. Several
    components start from k-means within each class. SDGM-D and SDGM-F (Hayashi and Uchida, ICLR 2021) are the paper's
    baselines: a softmax over z and z², or over z and all products of two coordinates. They start and are trained alike;
    their weights have no variational noise, because its term in the loss has weight 1e-9 in the paper's code.

    Args:
        model: "dgmmc-s" | "sdgm-d" | "sdgm-f".
        components: G ≥ 1. A class with fewer than 2 G rows gets fewer. "auto" for this, for `shrinkage`, `power` and
            `C` is allowed only in training from a store, which has rows to choose on.
        metric: "white" whitens the pooled covariance within classes; dgmmc-s then has one variance for all components.
            "col" standardises the columns; dgmmc-s then has one variance for each component. "one" divides all columns
            by one number, as the paper's model of principal components needs that are not whitened.
        shrinkage: λ in 0…1 of the covariance of "white" towards (tr C / d) I. At least 1e-6 is used.
        power: exponent of the Gaussian likelihood in the start, 0…1. 0 starts at the shares of the classes, and is
            allowed for one component only.
        C: how far training may go from the start, ≥ 0, as scikit-learn's C; 0 keeps the start.
        max_iter: maximum number of L-BFGS iterations.
        tol: training stops when the largest component of the gradient is below this.
        norm, project, dims, whiten, blocks: the transform of the vectors, see `TransformPlan`.
        seed: seed of k-means, and of the rows that describe SDGM-F if there are many.

    Attributes:
        classes_: labels, sorted, (K,).
        n_iter_: number of iterations.
        head_: the learned NumPy head for serving, in float32.
    """

    def __init__(
        self,
        model: Model = "dgmmc-s",
        components: int | Literal["auto"] = 1,
        metric: MetricName = "white",
        shrinkage: float | Literal["auto"] = 0.5,
        power: float | Literal["auto"] = 0.0625,
        C: float | Literal["auto"] = 0.01,
        max_iter: int = 100,
        tol: float = 1e-5,
        norm: Literal["none", "unit"] = "none",
        project: Projection = "none",
        dims: Dims | None = None,
        whiten: bool = False,
        blocks: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.components = components
        self.metric = metric
        self.shrinkage = shrinkage
        self.power = power
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.norm = norm
        self.project = project
        self.dims = dims
        self.whiten = whiten
        self.blocks = blocks
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from X (n, d), y (n,) labels.

        Raises:
            NotTrainable: fewer than two classes, no variance within classes, or SDGM-F of too many rows or weights.
            BadVectors: values whose squares overflow in float32.
            BadParameter: see the class.
        """
        check_mixture(self)
        return next(self.path(X, y, [Setting(float(self.shrinkage), float(self.power), float(self.C))]))

    def path(self, X: ArrayLike, y: ArrayLike, settings: Iterable[Setting]) -> Iterator[Self]:
        """Learn with each of several settings; a fit that differs from the one before only in C starts at its solution.

        Yields the estimator itself after each fit; the next fit changes it. Raises what `fit` raises.
        """
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
        self.classes_, codes = encode(labels)
        transform = TransformPlan.of(self).learn(vectors)
        self._require_room(transform.width)
        rows = _Rows(transform(vectors).astype(np.float64, copy=False), codes, len(self.classes_), self.metric)
        for shrinkage, same_metric in groupby(settings, lambda each: each.shrinkage):
            space = _Space(rows, rows.metric(shrinkage), self.model, int(self.components), self.seed)
            for power, same_start in groupby(same_metric, lambda each: each.power):
                W, b = space.components.scores(power)
                found: Trained | None = None
                for setting in same_start:
                    scores, steps = Quadratic(b, W), 0
                    if setting.C > 0:
                        start = space.coordinates @ W.T + b
                        problem = Problem(space.features.rows, start, codes, rows.n_classes, setting.C)
                        found = trained(problem, self.max_iter, self.tol, found)
                        scores, steps = space.features.quadratic(b + found.c, W, found.A), found.steps
                    self._keep(*space.metric.placed(scores, transform), setting, steps, transform.width)
                    yield self

    def _require_room(self, dim: int) -> None:
        cells = len(self.classes_) * int(self.components) * dim**2
        if self.model == "sdgm-f" and cells > MOST_CELLS:
            raise NotTrainable(
                f"sdgm-f of {len(self.classes_)} classes with {self.components} components in {dim} dimensions has "
                f"{cells:,} weights, more than {MOST_CELLS:,}; use project='pca' with fewer dims, or model='sdgm-d'"
            )

    def _keep(self, quadratic: Quadratic, transform: Transform, setting: Setting, steps: int, dim: int) -> None:
        """Keep the scores of vectors, and make the head."""
        K, G = len(self.classes_), int(self.components)
        self.transform_, self._quadratic, self.n_iter_ = transform, quadratic, steps
        count = parameter_count(self.model, K, G, dim, common=self.metric == "white")
        settings = {"model": self.model, "components": G, "metric": self.metric, **setting._asdict()}
        settings |= {"steps_used": steps, "parameter_count": count}
        self.head_ = MixtureHead(names(self.classes_), quadratic.astype(np.float32), transform, settings)

    def _scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return of_classes(self._quadratic(self.transform_(X)), len(self.classes_))


class _Rows:
    """The training rows u minus their mean, in float64, and their statistics. Raises BadVectors, NotTrainable."""

    def __init__(self, U: NDArray[np.float64], codes: NDArray[np.intp], n_classes: int, metric: MetricName) -> None:
        if not np.abs(U).max() < LARGEST:
            raise BadVectors(f"vectors hold values of {LARGEST:g} or more, whose squares overflow in float32")
        self.mean, self.codes, self.n_classes = U.mean(axis=0), codes, n_classes
        self.centred, self.name = U - self.mean, metric
        moment: Moment = "shared" if metric == "white" else "diagonal"
        self.statistics = gather(shares(self.centred, codes), n_classes, Transform(U.shape[1]), moment)
        if mean_variance(pooled(self.statistics)) <= max(NOISE * np.mean(self.mean**2), LEAST_VARIANCE):
            raise NotTrainable(
                "the rows of each class are equal up to rounding, so there is no variance within classes"
            )

    def metric(self, shrinkage: float) -> Metric:
        if self.name == "white":
            return Whitened.of(self.statistics, self.mean, shrinkage)
        return Standardised.of(self.statistics, self.mean, common=self.name == "one")


@dataclass
class _Space:
    """The training rows in a metric: coordinates, components and features, each computed when it is first read."""

    rows: _Rows
    metric: Metric
    model: Model
    count: int
    seed: int

    @cached_property
    def coordinates(self) -> NDArray[np.float64]:
        """Coordinates z of the rows, (n, m)."""
        return self.metric(self.rows.centred)

    @cached_property
    def components(self) -> Components:
        if self.count > 1:
            return several(self.coordinates, self.rows.codes, self.metric.within, self.count, self.seed)
        statistics = self.rows.statistics
        return one_each(self.metric(statistics.means()), statistics.counts, self.metric.within)

    @cached_property
    def features(self) -> Features:
        if self.model == "sdgm-f":
            return all_products(self.coordinates, self.seed)
        if self.model == "sdgm-d":
            return Diagonal(self.coordinates)
        return Linear(self.coordinates) if self.rows.name == "white" else Spherical(self.coordinates)
