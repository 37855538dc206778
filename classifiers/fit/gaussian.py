"""The Gaussian head as a scikit-learn estimator."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from classifiers.fit.base import FoldedClassifier, require_classes
from classifiers.fit.parallel import gather, shares
from classifiers.heads.gaussian import GaussianHead, Priors, Shrinkage, discriminant
from classifiers.heads.statistics import GaussianStatistics


class GaussianClassifier(FoldedClassifier):
    """One Gaussian a class with a shared covariance, in closed form from one pass over the rows.

    The decision functions are those of scikit-learn's LDA(solver="lsqr") with the same fixed shrinkage.

    Args:
        shrinkage: λ in 0…1 towards (tr C / d) I, or "oas" to choose it from the data.
        priors: "empirical" (shares of the training rows) or "uniform".

    Attributes:
        classes_: labels, sorted, (K,).
        statistics_: counts, sums and second moment of all rows seen so far.
        coef_, intercept_: folded scores, float64 (K, d) and (K,).
        head_: the same as a NumPy head for serving, in float32.
    """

    def __init__(self, shrinkage: Shrinkage = "oas", priors: Priors = "empirical") -> None:
        self.shrinkage = shrinkage
        self.priors = priors

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learns from X (n, d), y (n,) labels, anew. Raises NotTrainable (a ValueError)."""
        # What is not finite is found by the statistics, which saves a pass over X.
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_all_finite=False)
        if labels.dtype.kind not in "biuUS":  # whole numbers and strings are always classes; to look costs two sorts
            check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        statistics = gather(shares(vectors, codes), len(classes), vectors.shape[1])
        return self.fit_statistics(statistics, classes)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Learns from more rows. The first call names all `classes`; some may still be without rows.

        Solves for the weights at every call; for a stream of many small batches, update a
        `GaussianStatistics` and call `fit_statistics` once.
        """
        first = not hasattr(self, "statistics_")
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=first)
        check_classification_targets(labels)
        known = known_classes(classes, None if first else self.classes_)
        unseen = np.setdiff1d(labels, known)
        if len(unseen):
            raise ValueError(f"labels {unseen.tolist()[:5]} are not among classes {known.tolist()[:20]}")
        added = GaussianStatistics.empty(len(known), vectors.shape[1])
        added.update(vectors, np.searchsorted(known, labels))
        return self.fit_statistics(added if first else self.statistics_.merge(added), known)

    def fit_statistics(self, statistics: GaussianStatistics, classes: ArrayLike) -> Self:
        """Learns from statistics gathered elsewhere; `classes` (K,) in the order of its counts."""
        check_parameters(self.shrinkage, self.priors)
        labels = np.asarray(classes)
        require_classes(labels)
        statistics = statistics.copy()
        solved = discriminant(statistics, self.shrinkage, self.priors)
        self.classes_ = labels
        self.statistics_ = statistics
        self.n_features_in_ = statistics.dim
        self.coef_, self.intercept_ = solved.W, solved.b
        self.head_ = GaussianHead.from_discriminant(
            [str(label) for label in labels],
            statistics,
            solved,
            shrinkage=self.shrinkage,
            priors=self.priors,
        )
        return self


def known_classes(given: ArrayLike | None, known: NDArray[Any] | None) -> NDArray[Any]:
    """The sorted classes of a `partial_fit` call: the same at every call, named at the first."""
    if known is None:
        if given is None:
            raise ValueError("the first call of partial_fit needs all classes: partial_fit(X, y, classes=...)")
        return np.unique(np.asarray(given))
    if given is not None and not np.array_equal(np.unique(np.asarray(given)), known):
        raise ValueError(f"classes changed between calls of partial_fit; they were {known.tolist()[:20]}")
    return known


def check_parameters(shrinkage: object, priors: object) -> None:
    """Raises ValueError for values that `GaussianClassifier` does not take."""
    fixed = isinstance(shrinkage, Real) and not isinstance(shrinkage, bool) and 0 <= float(shrinkage) <= 1
    if not (fixed or shrinkage == "oas"):
        raise ValueError(f"shrinkage must be 'oas' or a number from 0 to 1, got {shrinkage!r}")
    allowed: Sequence[str] = ("empirical", "uniform")
    if priors not in allowed:
        raise ValueError(f"priors must be one of {', '.join(allowed)}, got {priors!r}")
