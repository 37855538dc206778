"""The shrinkage chosen on validation rows, compared with scikit-learn's own scores at every candidate."""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.shrinkage import CANDIDATES, choose_shrinkage
from classifiers.heads.gaussian.covariance import oas_shrinkage
from classifiers.heads.gaussian.discriminant import GaussianModel


def rows(seed: int, n: int, dim: int = 30, tails: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Return classes on correlated dimensions with heavy tails, where OAS shrinks too little."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, n)
    mixing = np.random.default_rng(99).normal(size=(dim, dim))
    centres = np.random.default_rng(98).normal(size=(3, dim))
    return (centres[codes] + rng.standard_t(tails, (n, dim)) @ mixing / 3).astype(np.float32), codes


def test_no_candidate_does_better_by_scikit_learns_own_scores():
    X, codes = rows(0, 60)
    V, val_codes = rows(1, 300)
    statistics = GaussianClassifier().fit(X, codes).statistics_
    chosen = choose_shrinkage(statistics, GaussianModel(), V, val_codes).shrinkage

    def loss(shrinkage: float) -> float:
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X.astype(np.float64), codes)
        scores = lda.decision_function(V.astype(np.float64))
        return mean_nll(scores, val_codes, fit_temperature(scores, val_codes))

    losses = [loss(candidate) for candidate in CANDIDATES]
    assert loss(chosen) <= min(losses) + 1e-6


def test_a_class_without_rows_is_no_trouble():
    X, codes = rows(0, 60)
    model = GaussianClassifier().partial_fit(X[codes > 0], codes[codes > 0], classes=[0, 1, 2])
    V, val_codes = rows(1, 50)
    keep = val_codes > 0
    assert 0 < choose_shrinkage(model.statistics_, GaussianModel(), V[keep], val_codes[keep]).shrinkage <= 1


def test_a_row_is_scored_by_what_is_best_without_it():
    """The reference is brute force: for each row, the choice is made on the others, at the temperatures of all rows."""
    X, codes = rows(0, 60)
    V, val_codes = rows(7, 12)
    statistics = GaussianClassifier().fit(X, codes).statistics_
    found = choose_shrinkage(statistics, GaussianModel(), V, val_codes)
    every = {}
    for shrinkage in (oas_shrinkage(statistics.covariance(), statistics.rows), *CANDIDATES):
        scores = GaussianClassifier(shrinkage=shrinkage).fit_statistics(statistics, np.arange(3)).scores(V)
        every[shrinkage] = scores / (temperature := fit_temperature(scores, val_codes))
        if shrinkage == found.shrinkage:
            scale = temperature
    chosen = []
    for row in range(len(V)):
        rest = np.arange(len(V)) != row
        best = min(every, key=lambda each: mean_nll(every[each][rest], val_codes[rest], 1.0))
        chosen.append(best)
        ours = found.left_out[row] / scale
        theirs = every[best][row]
        np.testing.assert_allclose(ours - ours.max(), theirs - theirs.max(), atol=2e-2)
    assert len(set(chosen)) > 1
