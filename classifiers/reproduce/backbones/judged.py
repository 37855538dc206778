"""Rows on which rules are fitted, with the scores of backbones that did not learn from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.fit.base import HeadClassifier
from classifiers.fit.held_out import Learner, out_of_fold, stratified_folds
from classifiers.heads.fusion.members import spread
from classifiers.reproduce.backbones.data import Data

TENTH, FOLDS = 10, 5


@dataclass(frozen=True, slots=True)
class Judged:
    """The rows on which rules are fitted.

    Attributes:
        rows: their numbers among the training rows, (m,).
        scores: scores of the backbones, which did not learn from these rows, float32 (m, B, K); -inf for classes that
            a backbone does not know.
        codes: true classes (m,).
        learning: rows that `members` learned from, bool (n,).
        members: a fitted classifier for each backbone, (B,).
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    codes: NDArray[np.int64]
    learning: NDArray[np.bool_]
    members: tuple[HeadClassifier, ...]

    def blocks(self, data: Data) -> list[NDArray[np.float32]]:
        """Return the columns of each backbone for these rows, (m, d_b)."""
        return [block[self.rows] for block in data.blocks]

    def best(self) -> int:
        """Return the number of the backbone that is right on the most of these rows."""
        return int((self.scores.argmax(axis=2) == self.codes[:, None]).mean(axis=0).argmax())


def tenth(learners: Sequence[Learner], data: Data, rng: np.random.Generator) -> Judged:
    """Let the backbones learn from nine tenths of the training rows, and score the other tenth."""
    held = stratified_folds(data.codes, TENTH, rng) == 0
    members = fitted(learners, data, ~held)
    scores = member_scores(members, [block[held] for block in data.blocks], len(data.classes))
    return _known(np.flatnonzero(held), scores, data.codes[held], ~held, members)


def folds(learners: Sequence[Learner], data: Data, rng: np.random.Generator) -> Judged:
    """Let the backbones learn from all training rows, and score each row by backbones of the other folds."""
    fold = stratified_folds(data.codes, FOLDS, rng)
    scores = np.full((len(data.codes), len(learners), len(data.classes)), -np.inf, np.float32)
    for member, (learner, block) in enumerate(zip(learners, data.blocks, strict=True)):
        for held, known, said in out_of_fold(learner, block, data.codes, fold):
            scores[held[:, None], member, known] = said
    learning = np.ones(len(data.codes), bool)
    return _known(np.arange(len(data.codes)), scores, data.codes, learning, fitted(learners, data, learning))


JUDGING: Mapping[str, Callable[[Sequence[Learner], Data, np.random.Generator], Judged]] = {
    "tenth": tenth,
    "folds": folds,
}
"""The rows on which rules are fitted: a tenth of the training rows, or all of them by out-of-fold scores."""


def fitted(learners: Sequence[Learner], data: Data, learning: NDArray[np.bool_]) -> tuple[HeadClassifier, ...]:
    """Return a fitted classifier for each backbone, (B,). Raises NotTrainable."""
    each = zip(learners, data.blocks, strict=True)
    return tuple(learner.fit(block[learning], data.codes[learning]) for learner, block in each)


def member_scores(
    members: Sequence[HeadClassifier], blocks: Sequence[NDArray[Any]], n_classes: int
) -> NDArray[np.float32]:
    """Return the scores of each member, float32 (n, B, n_classes); -inf for classes that it does not know."""
    each = [
        spread(member.scores(block).astype(np.float32), member.classes_, n_classes)
        for member, block in zip(members, blocks, strict=True)
    ]
    return np.stack(each, axis=1)


def _known(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    codes: NDArray[np.int64],
    learning: NDArray[np.bool_],
    members: tuple[HeadClassifier, ...],
) -> Judged:
    """Return the rows whose class every backbone knows."""
    known = np.isfinite(scores[np.arange(len(codes)), :, codes]).all(axis=1)
    return Judged(rows[known], scores[known], codes[known], learning, members)
