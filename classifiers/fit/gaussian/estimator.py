"""Gaussian heads as a scikit-learn estimator."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from classifiers.fit.base import HeadClassifier, check_weights, encode, names, require_classes
from classifiers.fit.gaussian.parallel import Batch, Gathering, factorising, gather, shares
from classifiers.fit.gaussian.parameters import check_covariance, known_classes, priors_of
from classifiers.fit.gaussian.shrinkage import ledoit_wolf
from classifiers.fit.transform import Dims, Projection, TransformPlan
from classifiers.heads.gaussian.covariance import MOMENTS, Covariance, require_room
from classifiers.heads.gaussian.covariance import Shrinkage as SolvedShrinkage
from classifiers.heads.gaussian.discriminant import TIED, GaussianModel, discriminant
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.gaussian.quadratic import Quadratic
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform

Shrinkage = float | Literal["oas", "ledoit-wolf"]
Priors = Literal["empirical", "uniform"] | Sequence[float] | Mapping[str, float]

Batches = Callable[[], Iterable[Batch]]
"""A function that returns all rows again at each call. Some covariances and transforms need two passes over the rows,
and Ledoit-Wolf one more."""


class GaussianClassifier(HeadClassifier):
    """One Gaussian for each class, in closed form from the statistics of one or two passes over the rows.

    covariance="tied" gives the decision functions of scikit-learn's LDA(solver="lsqr") with the same fixed shrinkage,
    "full" those of QuadraticDiscriminantAnalysis (which divides by n - 1 instead of n), "diag" those of GaussianNB.

    Args:
        covariance: "tied" | "diag" | "tied-diag" | "spherical" | "tied-spherical" | "full".
        shrinkage: λ in 0…1 towards (tr C / d) I; "oas" or "ledoit-wolf" choose λ from the rows.
        pooling: share of the pooled covariance in the covariance of each class, 0…1.
        correlation: use correlations instead of covariances, as in FeCAM (arXiv 2309.14062); for "tied" and "full".
        priors: "empirical" (shares of the training rows), "uniform", or probabilities: in the order of the sorted
            classes, or by label.
        norm, project, dims, whiten, blocks, seed: the transform of the vectors, see `TransformPlan`.

    Attributes:
        classes_: labels, sorted, (K,).
        statistics_: counts, sums and second moments of all transformed rows so far.
        transform_: the transform of the vectors.
        coef_, intercept_: folded score weights, float64 (K, d) and (K,); only for tied covariances.
        head_: the NumPy head for serving, in float32.
    """

    head_: GaussianHead

    def __init__(
        self,
        covariance: Covariance = "tied",
        shrinkage: Shrinkage = "oas",
        pooling: float = 0.0,
        correlation: bool = False,
        priors: Priors = "empirical",
        norm: Literal["none", "unit"] = "none",
        project: Projection = "none",
        dims: Dims | None = None,
        whiten: bool = False,
        blocks: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.covariance = covariance
        self.shrinkage = shrinkage
        self.pooling = pooling
        self.correlation = correlation
        self.priors = priors
        self.norm = norm
        self.project = project
        self.dims = dims
        self.whiten = whiten
        self.blocks = blocks
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn anew from X (n, d) and labels y (n,). Raises NotTrainable (a ValueError), BadParameter."""
        # The statistics find values that are not finite, which saves a pass over X. Random features would hide -inf.
        check = self.project == "ranpac"
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_all_finite=check)
        classes, codes = encode(labels)
        weights = check_weights(sample_weight, len(vectors))
        return self.fit_batches(lambda: shares(vectors, codes, weights), classes, vectors.shape[1])

    def fit_batches(self, batches: Batches, classes: ArrayLike, dim: int) -> Self:
        """Learn from batches of rows (X (n, dim), codes of `classes`, weights). Raises NotTrainable, BadVectors."""
        statistics, transform = self.gather(batches, len(np.asarray(classes)), dim)
        return self.fit_statistics(statistics, classes, transform, self.settled(batches, statistics, transform))

    def gather(
        self, batches: Batches, n_classes: int, dim: int, gathering: Gathering = gather
    ) -> tuple[GaussianStatistics, Transform]:
        """Return the statistics of all rows after the transform, and the transform.

        Raises NotTrainable, BadVectors, ValueError.
        """
        self._check()
        plan, moment = TransformPlan.of(self), MOMENTS[self.covariance]
        rowwise = plan.rowwise(dim)
        if not plan.learned:
            require_room(self.covariance, n_classes, rowwise.width)
            return gathering(batches(), n_classes, rowwise, moment), rowwise
        basis = plan.basis(batches(), rowwise) if gathering is gather else None
        first = gathering(batches(), n_classes, replace(rowwise, matrix=basis), "shared")
        transform = plan.complete(rowwise, first, basis)
        require_room(self.covariance, n_classes, transform.width)
        if moment == "shared":
            inner = transform.matrix if basis is None or transform.matrix is None else basis.T @ transform.matrix
            return first.mapped(inner, transform.offset), transform
        return gathering(batches(), n_classes, transform, moment), transform

    def settled(self, batches: Batches, statistics: GaussianStatistics, transform: Transform) -> SolvedShrinkage:
        """Return the shrinkage in a form that needs no rows: Ledoit-Wolf becomes numbers."""
        if self.shrinkage == "ledoit-wolf":
            return ledoit_wolf(batches(), statistics, transform, tied=self.covariance in TIED)
        return self.shrinkage

    @available_if(lambda estimator: estimator.shrinkage != "ledoit-wolf")
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn from more rows. The first call names all `classes`; some may have no rows yet.

        Each call solves for the weights. For a stream of many small batches, update a `GaussianStatistics` and call
        `fit_statistics` once. A transform that is learned from rows stays as the first call learned it. With
        shrinkage="ledoit-wolf", which needs a second pass over all rows, there is no partial_fit.

        Raises ValueError for labels that are not among `classes`.
        """
        first = not hasattr(self, "statistics_")
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=first)
        check_classification_targets(labels)
        known = known_classes(classes, None if first else self.classes_)
        unseen = np.setdiff1d(labels, known)
        if len(unseen):
            raise ValueError(f"labels {unseen.tolist()[:5]} are not among classes {known.tolist()[:20]}")
        weights = check_weights(sample_weight, len(vectors))
        batch = Batch(vectors, np.searchsorted(known, labels), weights)
        if first:
            statistics, transform = self.gather(lambda: [batch], len(known), vectors.shape[1])
            return self.fit_statistics(statistics, known, transform)
        added = gather([batch], len(known), self.transform_, MOMENTS[self.covariance])
        return self.fit_statistics(self.statistics_.merge(added), known, self.transform_)

    def fit_statistics(
        self,
        statistics: GaussianStatistics,
        classes: ArrayLike,
        transform: Transform | None = None,
        shrinkage: SolvedShrinkage | None = None,
    ) -> Self:
        """Learn from statistics that were gathered elsewhere.

        Args:
            classes: (K,), in the order of the counts in `statistics`.
            transform: the transform of the rows in `statistics`; None for none.
            shrinkage: replaces the estimator's own: one number, or one for each class.
        """
        self._check()
        labels = np.asarray(classes)
        require_classes(labels)
        statistics = statistics.copy()
        transform = transform or Transform(statistics.dim)
        model = self.model(labels, shrinkage)
        with factorising(statistics.dim):
            solved = discriminant(statistics, model)
        self.classes_, self.statistics_, self.transform_ = labels, statistics, transform
        self.n_features_in_ = transform.dim
        self._solved = solved
        if model.covariance in TIED and solved.scores.W is not None:
            self.coef_, self.intercept_ = transform.folded(solved.scores.W, solved.scores.b)
        self.head_ = GaussianHead.from_discriminant(names(labels), statistics, model, transform, solved)
        return self

    def _check(self) -> None:
        check_covariance(self.covariance, self.shrinkage, self.pooling, self.correlation)
        TransformPlan.of(self).check()

    def model(self, classes: ArrayLike, shrinkage: SolvedShrinkage | None = None) -> GaussianModel:
        """Return the settings for a head from statistics of `classes`. `shrinkage` replaces the estimator's own."""
        used: Any = self.shrinkage if shrinkage is None else shrinkage
        priors = priors_of(self.priors, np.asarray(classes))
        return GaussianModel(self.covariance, used, self.pooling, self.correlation, priors)

    def _scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        if self.covariance in TIED:
            return np.asarray(Quadratic(self.intercept_, self.coef_)(self.transform_.rowwise(X)))
        return np.asarray(self._solved.scores(self.transform_(X) - self._solved.centre))
