"""Every rule of the papers, fitted on rows that no backbone learned from, and one head on all backbones as control."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV

from classifiers.errors import NotTrainable
from classifiers.fit.base import encode
from classifiers.fit.fusion.estimator import make_blocks
from classifiers.fit.fusion.fusers import fit_cascade, fit_combiner, fit_temperatures
from classifiers.fit.fusion.search import search_temperatures
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.heads.fusion.combiner import Combiner
from classifiers.heads.fusion.rules import RULES, log_softmax
from classifiers.reproduce.backbones.data import Data
from classifiers.reproduce.backbones.judged import Judged
from classifiers.reproduce.backbones.regimes import LinearProbe

CALIBRATED = ("confidence", "log-average", "probability-average")
"""Rules that are fitted with temperatures too. Votes only break their ties by probabilities."""

SEARCH, STACK, NLC, NLC_STATISTICS, CASCADE = (
    "temperature search",
    "Super Learner",
    "NLC",
    "NLC on statistics",
    "cascade",
)
WITHOUT_LABELS = tuple(RULES)
"""Rules that need no rows to be fitted on."""

TOLERANCE = 0.005
"""Accuracy that the cascade may lose against all backbones, on the rows that it is fitted on."""

SHRINKAGE = 0.5
"""Shrinkage of LDA on all backbones: that of the members of the kind `fusion`."""

PENALTIES = tuple(np.geomspace(1.0, 1e6, 7).tolist())
"""Penalties of the ridge regression, chosen by leave-one-out error."""


def fit_rules(judged: Judged, data: Data, seed: int) -> dict[str, Combiner]:
    """Return each rule by name, fitted on the judged rows."""
    plain, fitted = np.ones(len(data.names), np.float32), fit_temperatures(judged.scores, judged.codes)
    searched = search_temperatures(judged.scores, judged.codes, fitted, seed=seed)
    logs = log_softmax(judged.scores, fitted)
    cascade = fit_cascade(logs, judged.codes, data.costs, threshold=None, tolerance=TOLERANCE)
    blocks = judged.blocks(data)

    def learned(rule: str, **more: Any) -> Combiner:
        return fit_combiner(rule, judged.scores, judged.codes, blocks, fitted, seed=seed, **more)[0]

    return {
        **{rule: Combiner(rule, plain, plain) for rule in RULES},
        **{f"{rule}, calibrated": Combiner(rule, fitted, plain) for rule in CALIBRATED},
        SEARCH: Combiner("log-average", searched, plain),
        STACK: learned("stack"),
        NLC: learned("nlc"),
        NLC_STATISTICS: learned("nlc", inputs="statistics"),
        CASCADE: learned("cascade", cascade=cascade),
    }


def fit_prefix(rule: str, count: int, judged: Judged, data: Data, seed: int) -> Combiner:
    """Return a rule for the `count` cheapest backbones alone, fitted on the judged rows."""
    scores = judged.scores[:, :count]
    temperatures = fit_temperatures(scores, judged.codes)
    return fit_combiner(rule, scores, judged.codes, judged.blocks(data)[:count], temperatures, seed=seed)[0]


CONTROLS: Mapping[str, Callable[[], Any]] = {
    "side by side, ridge": lambda: RidgeClassifierCV(PENALTIES),
    "side by side, LDA": lambda: GaussianClassifier(shrinkage=SHRINKAGE),
    "side by side, softmax": LinearProbe,
}
"""One head on the vectors of all backbones side by side, by name."""


class SideBySide:
    """The controls of one experiment: heads on all backbones side by side, each block L2-normalised.

    Heads that learned from the same rows before are not learned again.
    """

    def __init__(self, data: Data) -> None:
        self._data = data
        self._edges = (0, *np.cumsum([block.shape[1] for block in data.blocks]).tolist())
        self._train, self._test = np.concatenate(data.blocks, axis=1), np.concatenate(data.tested, axis=1)
        self._found: dict[bytes, dict[str, NDArray[np.int64]]] = {}
        self.reasons: dict[str, str] = {}

    def predicted(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Return the class of each test row (m,), by control. Controls that cannot learn from `rows` are missing.

        `reasons` says why they cannot.
        """
        key = rows.tobytes()
        if key not in self._found:
            self._found[key] = self._learned(rows)
        return self._found[key]

    def _learned(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        scaled = make_blocks(self._train[rows], self._edges, normalise=True)
        X, T = (np.concatenate(scaled.of(each), axis=1) for each in (self._train[rows], self._test))
        found, codes = {}, self._data.codes[rows]
        for name, make in CONTROLS.items():
            try:
                encode(codes)
                found[name] = np.asarray(make().fit(X, codes).predict(T))
            except NotTrainable as error:
                self.reasons[name] = str(error)
        return found


def refitted(
    make: Callable[[], Any], X: NDArray[Any], codes: NDArray[np.int64], T: NDArray[Any], count: int, seed: int
) -> NDArray[np.int64]:
    """Return the answers on T, (m, count), of heads on one backbone that learned from rows drawn with replacement."""
    rng, chosen = np.random.default_rng(seed), []
    for _ in range(count):
        rows = rng.integers(0, len(X), len(X))
        chosen.append(make().fit(X[rows], codes[rows]).predict(T))
    return np.stack(chosen, axis=1)
