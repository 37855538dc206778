"""What the estimators with folded linear scores share: how they predict."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from classifiers.errors import NotTrainable
from classifiers.heads.base import Head, probabilities


class FoldedClassifier(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose scores are X coef_ᵀ + intercept_, in the precision of X or better.

    Attributes:
        classes_: labels, sorted, (K,).
        coef_, intercept_: float64 (K, d) and (K,); two classes have two rows too.
        head_: the same as a NumPy head for serving, in float32.
    """

    classes_: NDArray[Any]
    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    head_: Head

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scores (n, K), or for two classes their difference (n,), as scikit-learn has it."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n, K), never calibrated; calibration belongs to `classifiers.train`."""
        return probabilities(self._scores(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable label of every row, (n,)."""
        best = self._scores(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _scores(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self)
        vectors = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray(vectors @ self.coef_.T + self.intercept_)


def require_classes(classes: NDArray[Any]) -> None:
    """Raises NotTrainable for fewer than two classes."""
    if len(classes) < 2:
        raise NotTrainable(f"a classifier needs at least 2 classes, got one class: {classes.tolist()}")
