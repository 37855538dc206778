"""The two classifiers that judge vectors: nearest neighbours, and CLIP's linear probe."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from classifiers.evaluation.neighbours import nearest_classes
from classifiers.reproduce.mlcd.rows import Part, Parts
from classifiers.reproduce.mlcd.spaces import Space
from classifiers.training.learning.tuning import PENALTIES, Patience

NEIGHBOURS = (1, 5, 10, 20, 50, 100)
MOST_ITERATIONS = 1000

Predict = Callable[[NDArray[Any], NDArray[np.int64], NDArray[Any], Sequence[Any]], Iterator[NDArray[np.int64]]]
"""(vectors (n, D), codes (n,), other vectors (m, D), settings) → for each setting the codes of the others, (m,)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The best setting on validation rows, and with it: True for each row that is classified correctly, (m,)."""

    setting: float
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judge:
    """A classifier with one setting that is chosen on validation rows.

    Attributes:
        setting: symbol of the setting.
        settings: its values, the simplest first.
    """

    name: str
    setting: str
    settings: tuple[float, ...]
    predict: Predict

    def on_validation(self, space: Space, parts: Parts) -> Verdict:
        """Return the setting with the highest accuracy on val after learning from train, the first of equal ones.

        The search ends after some settings in a row that were worse than the best.
        """
        patience, found = Patience(), []
        for right in self._right(space, parts.train, parts.val, self.settings):
            found.append(right)
            if patience.ends(1 - right.mean()):
                break
        best = int(np.argmax([right.mean() for right in found]))
        return Verdict(self.settings[best], found[best])

    def on_test(self, space: Space, parts: Parts, setting: float) -> NDArray[np.bool_]:
        """Return which test rows are right after learning from train and val, (m,)."""
        return next(self._right(space, parts.both, parts.test, (setting,)))

    def _right(self, space: Space, seen: Part, other: Part, settings: Sequence[float]) -> Iterator[NDArray[np.bool_]]:
        predicted = self.predict(space.encode(seen.X), seen.codes, space.encode(other.X), settings)
        return (codes == other.codes for codes in predicted)


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
    mean = F.mean(axis=0)
    scale = np.sqrt(((F - mean) ** 2).mean()) or 1.0
    model = LogisticRegression(max_iter=MOST_ITERATIONS, warm_start=True)
    for C in penalties:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that has not converged is judged like any other
            model.set_params(C=C).fit((F - mean) / scale, codes)
        yield np.asarray(model.predict((G - mean) / scale))


JUDGES = (Judge("kNN", "k", NEIGHBOURS, neighbours), Judge("linear probe", "C", PENALTIES, probe))
