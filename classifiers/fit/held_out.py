"""Out-of-fold scores, on which fusion rules are fitted: estimators that did not learn from a row score it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.fit.base import HeadClassifier
from classifiers.fit.remembered import remembered


def stratified_folds(codes: NDArray[np.integer[Any]], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a fold in 0…folds-1 for each row, (n,). Rows, and the rows of each class, are spread evenly over the folds.

    A class with fewer rows than folds is missing from some folds.
    """
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    fold = np.empty(len(codes), np.int64)
    fold[order] = np.arange(len(codes)) % folds
    return fold


@dataclass(frozen=True, slots=True)
class Learner:
    """An estimator that has not learned, for some columns.

    Attributes:
        estimator: not fitted; it is cloned.
        text: the vector of each class's text in these columns, by class; None if the estimator needs none.
    """

    estimator: HeadClassifier
    text: Mapping[str, NDArray[Any]] | None = None

    def fit(self, X: NDArray[Any], codes: NDArray[np.int64]) -> HeadClassifier:
        """Return a fitted clone. Raises NotTrainable."""
        texts = {} if self.text is None else {"text": self.text}
        fitted: HeadClassifier = clone(self.estimator).fit(X, codes, **texts)
        return fitted


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Out-of-fold scores of m training rows. Rows whose class was missing from the other folds are left out.

    Attributes:
        scores: of B estimators on single blocks, float32 (m, B, K); -inf for classes that they did not learn.
        whole: scores of the estimator on all columns, float32 (m, K); zeros without that estimator.
        codes: true classes (m,).
        fold: fold of each row, (m,).
        rows: numbers of the training rows, (m,).
    """

    scores: NDArray[np.float32]
    whole: NDArray[np.float32]
    codes: NDArray[np.int64]
    fold: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        learners: Sequence[Learner],
        blocks: Sequence[NDArray[Any]],
        joint: Learner,
        whole: NDArray[Any] | None,
        codes: NDArray[np.int64],
        fold: NDArray[np.int64] | None,
    ) -> Self:
        """Fit the learners fold by fold, and score the rows left out. If `fold` is None, no rows are scored.

        Args:
            learners: one for each block.
            blocks: columns of each block, (n, d_b).
            joint: the learner on all columns.
            whole: all columns (n, d); None to leave `joint` out.
            codes: true classes (n,).
            fold: fold of each row (n,).
        """
        width = int(codes.max()) + 1
        scores = np.full((len(codes), len(blocks), width), -np.inf, np.float32)
        on_all = np.zeros((len(codes), width), np.float32)
        if fold is not None:
            for member, (learner, block) in enumerate(zip(learners, blocks, strict=True)):
                for held, known, said in out_of_fold(learner, block, codes, fold):
                    scores[held[:, None], member, known] = said
            if whole is not None:
                on_all[:] = -np.inf
                for held, known, said in out_of_fold(joint, whole, codes, fold):
                    on_all[held[:, None], known] = said
        rows = np.flatnonzero(np.isfinite(scores[np.arange(len(codes)), :, codes]).all(axis=1))
        fold_of = np.zeros(0, np.int64) if fold is None else fold[rows]
        return cls(scores[rows], on_all[rows], codes[rows], fold_of, rows)


@remembered
def out_of_fold(
    learner: Learner, X: NDArray[Any], codes: NDArray[np.int64], fold: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Return for each fold its rows (m,), the classes known without it (k,), and its scores (m, k).

    A fold without which the others cannot be fitted is skipped.
    """
    found = []
    for number in np.unique(fold):
        held = fold == number
        try:
            fitted = learner.fit(X[~held], codes[~held])
        except NotTrainable:
            continue
        found.append((np.flatnonzero(held), fitted.classes_, fitted.scores(X[held])))
    return found
