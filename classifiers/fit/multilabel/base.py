"""The base class of the estimators for rows with any number of labels, and functions on label matrices."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags
from sklearn.utils.validation import check_is_fitted

from classifiers.errors import BadParameter, NotTrainable

LEAST_HELD_OUT = 10
"""Least number of held-out rows. If there would be fewer, no rows are held out: so few could not judge an epoch."""

Targets = tuple[NDArray[np.float32], NDArray[np.int64]]
"""The texts that rows are aligned to: vectors (S, t), and the number of each row's vector, (n,), -1 for none."""


class LabelsEstimator(BaseEstimator):
    """An estimator whose rows have any number of labels.

    Attributes:
        needs_texts: True if `fit` takes a vector of each label's name, as `text`.
        reads_bank: True if `fit` takes the label bank of an encoder.
        classes_: names of the labels, in the order of the columns of Y, (L,); 0…L-1 if fit was given no names.
    """

    reads_bank: ClassVar[bool] = False
    classes_: NDArray[Any]

    @property
    def needs_texts(self) -> bool:
        return False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags(multi_class=False, multi_label=True)
        tags.target_tags.required = True
        tags.target_tags.single_output, tags.target_tags.multi_output = False, True
        return tags

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Return the scores (n, L). A score above 0 means that the label is more likely than not."""
        check_is_fitted(self)
        return self._scores(X)

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Return the uncalibrated probability of each label, (n, L)."""
        return np.asarray(expit(self.decision_function(X)))

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return 1 for labels that are more likely than not, else 0, (n, L).

        `classifiers.evaluation.thresholds` tunes a threshold for each label instead.
        """
        return (self.decision_function(X) > 0).astype(np.int64)

    def _scores(self, X: ArrayLike) -> NDArray[Any]:
        """Return the scores (n, L). Each estimator implements it; all predictions follow from it."""
        raise NotImplementedError


def check_labels(Y: ArrayLike | None, rows: int, classes: Sequence[str] | None) -> tuple[NDArray[np.bool_], list[str]]:
    """Return the labels of each row, bool (n, L), and the names of the labels: "0", "1", … if none are given.

    Args:
        Y: 1 if a row has a label, else 0, (n, L).
        rows: n.
        classes: names of the labels (L,), or None.

    Raises NotTrainable: another shape, values other than 0 and 1, or a wrong number of names or equal names.
    """
    if Y is None:
        raise NotTrainable("learning requires y to be passed, but the target y is None")
    given = np.asarray(Y)
    if given.ndim != 2 or len(given) != rows or not given.shape[1]:
        raise NotTrainable(f"labels of {rows} rows must be (rows, labels) of 0 and 1, got shape {given.shape}")
    if not rows:
        raise NotTrainable("there are no rows to learn from")
    if not np.isin(given, (0, 1)).all():
        raise NotTrainable("labels must be 1 if a row has the label, else 0; found other values")
    names = [str(k) for k in range(given.shape[1])] if classes is None else [str(name) for name in classes]
    if len(names) != given.shape[1] or len(set(names)) != len(names):
        raise NotTrainable(f"{given.shape[1]} columns of labels need as many different names, got {names[:20]}")
    return given.astype(np.bool_), names


def class_names(names: Sequence[str], classes: Sequence[str] | None) -> NDArray[Any]:
    """Return the value of `classes_`: the names, or the column numbers if none were given, as in scikit-learn."""
    return np.arange(len(names)) if classes is None else np.array(names)


def label_sets(labels: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the distinct sets of labels of the rows, and the number of each row's set.

    Returns:
        Sets without the empty one, bool (S, L), sorted; and numbers (n,) in 0…S-1, -1 for a row without labels.
    """
    some = labels.any(axis=1)
    sets, which = np.unique(labels[some], axis=0, return_inverse=True)
    codes = np.full(len(labels), -1, np.int64)
    codes[some] = which.ravel()
    return sets, codes


def mean_text(sets: NDArray[np.bool_], text: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a vector for each set of labels, (S, t): the mean of the unit vectors `text` (L, t) of its labels."""
    return np.asarray(sets.astype(np.float32) @ text / sets.sum(axis=1, keepdims=True, dtype=np.float32))


def log_odds(positives: NDArray[np.integer[Any]], rows: int) -> NDArray[np.float64]:
    """Return the finite log odds of each label, (L,): half a row is added to the rows with and without the label."""
    return np.asarray(np.log((positives + 0.5) / (rows - positives + 0.5)))


def hold_out(labels: NDArray[np.bool_], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split row numbers into training rows and held-out rows, a random `share` of all.

    No rows are held out if they would be too few, or none of them had a label: they could not judge anything.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    count = int(share * len(labels))
    if count < LEAST_HELD_OUT or not labels[order[:count]].any():
        return order, order[:0]
    return order[count:], order[:count]


def check_descent(epochs: int, batch: int, learning_rate: float, held_out: float) -> None:
    """Raise BadParameter for values that gradient descent does not allow; the message names the allowed ones."""
    if epochs < 1 or batch < 1:
        raise BadParameter(f"epochs and batch must be at least 1, got epochs={epochs}, batch={batch}")
    if not 0 < learning_rate < np.inf:
        raise BadParameter(f"learning_rate must be above 0, got {learning_rate!r}")
    if not 0 <= held_out < 1:
        raise BadParameter(f"held_out must be a share of the rows, from 0 to below 1, got {held_out!r}")
