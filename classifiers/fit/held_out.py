"""Scores of training rows under estimators that did not learn from them: what fusion is fitted on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.fit.base import HeadClassifier


def stratified_folds(codes: NDArray[np.integer[Any]], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each row, (n,) in 0…folds-1, drawn so that folds and every class in them are of nearly equal size.

    A class with fewer rows than folds is missing from some.
    """
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    fold = np.empty(len(codes), np.int64)
    fold[order] = np.arange(len(codes)) % folds
    return fold


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Training rows under estimators fitted on the other folds; without rows whose class these had no row of.

    Attributes:
        scores: of the estimators on single blocks, float32 (m, B, K); -inf for classes that they had no row of.
        whole: scores of the estimator on all columns, float32 (m, K); zeros without one.
        codes: true classes (m,).
        fold: (m,).
        rows: which of the training rows these are, (m,).
    """

    scores: NDArray[np.float32]
    whole: NDArray[np.float32]
    codes: NDArray[np.int64]
    fold: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        prototype: HeadClassifier,
        blocks: Sequence[NDArray[Any]],
        whole: NDArray[Any] | None,
        codes: NDArray[np.int64],
        fold: NDArray[np.int64] | None,
    ) -> Self:
        """Scores of clones of `prototype`; no rows where `fold` is None.

        Args:
            blocks: (n, d_b) each; `whole` (n, d), or None where no estimator on all columns is wanted.
        """
        width = int(codes.max()) + 1
        scores = np.full((len(codes), len(blocks), width), -np.inf, np.float32)
        joint = np.zeros((len(codes), width), np.float32)
        if fold is not None:
            for member, block in enumerate(blocks):
                for held, known, said in out_of_fold(prototype, block, codes, fold):
                    scores[held[:, None], member, known] = said
            if whole is not None:
                joint[:] = -np.inf
                for held, known, said in out_of_fold(prototype, whole, codes, fold):
                    joint[held[:, None], known] = said
        rows = np.flatnonzero(np.isfinite(scores[np.arange(len(codes)), :, codes]).all(axis=1))
        fold_of = np.zeros(0, np.int64) if fold is None else fold[rows]
        return cls(scores[rows], joint[rows], codes[rows], fold_of, rows)


def out_of_fold(
    prototype: HeadClassifier, X: NDArray[Any], codes: NDArray[np.int64], fold: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Per fold that can be left out: its rows (m,), the classes known without it (k,), and its scores (m, k)."""
    for number in np.unique(fold):
        held = fold == number
        try:
            fitted = clone(prototype).fit(X[~held], codes[~held])
        except NotTrainable:
            continue
        yield np.flatnonzero(held), fitted.classes_, fitted.scores(X[held])
