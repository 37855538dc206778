"""The two classifiers that judge vectors, nearest neighbours and CLIP's linear probe: for classes and for labels."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from classifiers.evaluation.neighbours import nearest_classes, shares_of_votes
from classifiers.fit.multilabel.base import log_odds
from classifiers.fit.multilabel.labelwise import solutions
from classifiers.reproduce.mlcd.outcomes import Outcome, RankedRows, RightRows
from classifiers.reproduce.mlcd.rows import Part, Parts
from classifiers.reproduce.mlcd.spaces import Space
from classifiers.training.learning.tuning import PENALTIES, Patience

NEIGHBOURS = (1, 5, 10, 20, 50, 100)
LABEL_NEIGHBOURS = (*NEIGHBOURS, 200, 400)
"""mAP ranks rows by their scores, and the votes of few neighbours leave many rows with equal ones."""
MOST_ITERATIONS, TOLERANCE = 1000, 1e-5

Predict = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], Sequence[Any]], Iterator[NDArray[Any]]]
"""(vectors (n, D), codes (n,) or labels (n, L), other vectors (m, D), settings) → for each setting the codes of the
others (m,), or their scores (m, L)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The best setting on validation rows, and its outcome there."""

    setting: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Judge:
    """A classifier with one setting that is chosen on validation rows.

    Attributes:
        setting: symbol of the setting.
        settings: its values, the simplest first.
        outcome: how its predictions are measured.
    """

    name: str
    setting: str
    settings: tuple[float, ...]
    predict: Predict
    outcome: type[Outcome]

    def on_validation(self, space: Space, parts: Parts) -> Verdict:
        """Return the setting with the highest figure on val after learning from train, the first of equal ones.

        The search ends after some settings in a row that were worse than the best.
        """
        patience, found = Patience(), []
        for outcome in self._outcomes(space, parts.train, parts.val, self.settings):
            found.append(outcome)
            if patience.ends(1 - outcome.value):
                break
        best = int(np.argmax([outcome.value for outcome in found]))
        return Verdict(self.settings[best], found[best])

    def on_test(self, space: Space, parts: Parts, setting: float) -> Outcome:
        """Return the outcome on test rows after learning from train and val."""
        return next(self._outcomes(space, parts.both, parts.test, (setting,)))

    def _outcomes(self, space: Space, seen: Part, other: Part, settings: Sequence[float]) -> Iterator[Outcome]:
        predicted = self.predict(space.encode(seen.X), seen.truth, space.encode(other.X), settings)
        return (self.outcome.of(each, other.truth) for each in predicted)


def neighbours(
    F: NDArray[Any], codes: NDArray[np.int64], G: NDArray[Any], counts: Sequence[int]
) -> Iterator[NDArray[np.int64]]:
    """Yield for each number of neighbours the class of each row of G (m, D), by its nearest rows of F (n, D)."""
    return nearest_classes(F, codes, G, int(codes.max()) + 1, counts)


def probe(
    F: NDArray[Any], codes: NDArray[np.int64], G: NDArray[Any], penalties: Sequence[float]
) -> Iterator[NDArray[np.int64]]:
    """Yield for each C the class of each row of G by logistic regression on F; each fit starts at the one before.

    As in CLIP's protocol (arXiv 2103.00020, appendix A.3), columns are not standardised. They are centred, which the
    intercept makes up for, and divided by one number, so that one C means the same in every space.
    """
    F, G = _scaled(F, G)
    model = LogisticRegression(max_iter=MOST_ITERATIONS, warm_start=True)
    for C in penalties:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that has not converged is judged like any other
            model.set_params(C=C).fit(F, codes)
        yield np.asarray(model.predict(G))


def probe_of_labels(
    F: NDArray[Any], Y: NDArray[np.bool_], G: NDArray[Any], penalties: Sequence[float]
) -> Iterator[NDArray[np.float32]]:
    """Yield for each C the scores of the labels Y (n, L) for each row of G, by one logistic regression for each label.

    Columns are centred and scaled as for `probe`. A label that no row of F has, or every row, gets one score for all G.
    """
    F, G = (each.astype(np.float64) for each in _scaled(F, G))
    positives = np.count_nonzero(Y, axis=0)
    varied, start = (positives > 0) & (positives < len(Y)), log_odds(positives, len(Y))
    for W, b, _ in solutions(F, Y[:, varied], start[varied], penalties, MOST_ITERATIONS, TOLERANCE):
        scores = np.broadcast_to(start, (len(G), len(start))).astype(np.float32)
        scores[:, varied] = G @ W.T + b
        yield scores


def _scaled(F: NDArray[Any], G: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both less the mean of F, and divided by the one standard deviation of all columns of F."""
    mean = F.mean(axis=0)
    scale = np.sqrt(((F - mean) ** 2).mean()) or 1.0
    return (F - mean) / scale, (G - mean) / scale


JUDGES = (
    Judge("kNN", "k", NEIGHBOURS, neighbours, RightRows),
    Judge("linear probe", "C", PENALTIES, probe, RightRows),
)
LABEL_JUDGES = (
    Judge("kNN", "k", LABEL_NEIGHBOURS, shares_of_votes, RankedRows),
    Judge("linear probe", "C", PENALTIES, probe_of_labels, RankedRows),
)
"""The same for rows with any number of labels."""


def judges_of(parts: Parts) -> tuple[Judge, ...]:
    return JUDGES if parts.exclusive else LABEL_JUDGES
