"""The base class of the estimators for rows with exactly one class, and the checks that several estimators use."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from classifiers.errors import BadParameter, NotTrainable
from classifiers.heads.base import Head, probabilities


class HeadClassifier(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier that learns a NumPy head. Its own scores have at least the precision of X.

    Attributes:
        classes_: labels, sorted, (K,).
        head_: the learned NumPy head for serving, in float32.
        needs_texts: True if `fit` takes a vector of each class's text, as `text`.
    """

    classes_: NDArray[Any]
    head_: Head

    @property
    def needs_texts(self) -> bool:
        return False

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the scores (n, K). For two classes, return their difference (n,), as scikit-learn does."""
        scores = self.scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return uncalibrated probabilities (n, K). `classifiers.training` calibrates the heads that it publishes."""
        return probabilities(self.scores(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each row, (n,)."""
        best = self.scores(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def scores(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the scores before the softmax, (n, K), with K = 2 for two classes."""
        check_is_fitted(self)
        return self._scores(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def _scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores (n, K) of checked vectors. Each estimator implements it; all predictions follow from it."""
        raise NotImplementedError


def encode(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the sorted classes (K,) and the code of each row's class (n,).

    Raises NotTrainable for fewer than two classes, and ValueError for labels that are not classes, such as fractions.
    """
    if labels.dtype.kind not in "biuUS":  # whole numbers and strings are always classes; the check costs two sorts
        check_classification_targets(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    require_classes(classes)
    return classes, codes


def require_classes(classes: NDArray[Any]) -> None:
    """Raise NotTrainable for fewer than two classes."""
    if len(classes) < 2:
        raise NotTrainable(f"a classifier needs at least 2 classes, got one class: {classes.tolist()}")


def names(classes: NDArray[Any]) -> Sequence[str]:
    """Return the classes as strings, as a head stores them."""
    return [str(label) for label in classes]


def check_weights(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.float64] | None:
    """Return weights (n,) in float64, or None.

    Raises ValueError for another shape, NaN, infinity, negative values or all zeros.
    """
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight must have shape ({rows},), got {weights.shape}")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("sample_weight must be finite and not negative")
    if not weights.any():
        raise ValueError("sample_weight is zero for every row: there is nothing to learn from")
    return weights


def check_solver(C: object, max_iter: object, tol: object) -> None:
    """Check the parameters of an L-BFGS fit with an L2 penalty. Raises BadParameter."""
    if not is_real(C) or not C > 0:
        raise BadParameter(f"C must be a number above 0, got {C!r}")
    if not is_real(max_iter) or not max_iter >= 1 or max_iter % 1:
        raise BadParameter(f"max_iter must be a whole number ≥ 1, got {max_iter!r}")
    if not is_real(tol) or not tol >= 0:
        raise BadParameter(f"tol must be a number ≥ 0, got {tol!r}")


def is_real(value: object) -> TypeGuard[float]:
    """True for a real number; False for booleans."""
    return isinstance(value, Real) and not isinstance(value, bool)
