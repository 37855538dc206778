"""What the estimators share: how they predict, and the transform inside their heads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from classifiers.errors import NotTrainable
from classifiers.heads.base import Head, probabilities


class HeadClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that yields a NumPy head, and scores in the precision of X or better itself.

    Attributes:
        classes_: labels, sorted, (K,).
        head_: what it learned as a NumPy head for serving, in float32.
    """

    classes_: NDArray[Any]
    head_: Head

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scores (n, K), or for two classes their difference (n,), as scikit-learn has it."""
        scores = self.scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n, K), never calibrated; calibration belongs to `classifiers.training.pipeline`."""
        return probabilities(self.scores(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable label of every row, (n,)."""
        best = self.scores(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def scores(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scores before the softmax, (n, K), for two classes too."""
        check_is_fitted(self)
        return self._scores(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def _scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (n, K) of checked vectors. The one function that each estimator writes to predict."""
        raise NotImplementedError


def encode(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The sorted classes and every row's code. Raises NotTrainable for fewer than two, ValueError for no classes."""
    if labels.dtype.kind not in "biuUS":  # whole numbers and strings are always classes; to look costs two sorts
        check_classification_targets(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    require_classes(classes)
    return classes, codes


def require_classes(classes: NDArray[Any]) -> None:
    """Raises NotTrainable for fewer than two classes."""
    if len(classes) < 2:
        raise NotTrainable(f"a classifier needs at least 2 classes, got one class: {classes.tolist()}")


def names(classes: NDArray[Any]) -> Sequence[str]:
    """Classes as a head names them."""
    return [str(label) for label in classes]


def check_weights(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.float64] | None:
    """Weights (n,) in float64, or None. Raises ValueError for another shape, and for weights that are no weights."""
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
