"""What the estimators share: how they predict from scores."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from classifiers.errors import NotTrainable
from classifiers.heads.base import Head, probabilities


class ScoringClassifier(ClassifierMixin, BaseEstimator, ABC):
    """A classifier whose softmax scores are written by each kind, in the precision of X or better.

    Attributes:
        classes_: labels, sorted, (K,).
        head_: the same as a NumPy head for serving, in float32.
    """

    classes_: NDArray[Any]
    head_: Head

    @abstractmethod
    def _scores(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Scores (n, K) of checked vectors (n, d)."""

    def scores(self, X: ArrayLike) -> NDArray[Any]:
        """Scores before the softmax, (n, K), for two classes too."""
        check_is_fitted(self)
        return self._scores(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scores (n, K), or for two classes their difference (n,), as scikit-learn has it."""
        scores = self.scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n, K), never calibrated; calibration belongs to `classifiers.train`."""
        return probabilities(self.scores(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable label of every row, (n,)."""
        best = self.scores(X).argmax(axis=1)
        return np.asarray(self.classes_[best])


class FoldedClassifier(ScoringClassifier):
    """A fitted classifier whose scores are X coef_ᵀ + intercept_.

    Attributes:
        coef_, intercept_: float64 (K, d) and (K,); two classes have two rows too.
    """

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]

    def _scores(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(vectors @ self.coef_.T + self.intercept_)


def require_classes(classes: NDArray[Any]) -> None:
    """Raises NotTrainable for fewer than two classes."""
    if len(classes) < 2:
        raise NotTrainable(f"a classifier needs at least 2 classes, got one class: {classes.tolist()}")
