"""LP++ against its objective, written down again: slopes, descent, and the minimum that another optimiser finds."""

from functools import partial

import numpy as np
import pytest
from helpers.toys import WithTexts, text_of, unit
from scipy.optimize import approx_fprime, minimize

from classifiers.fit import linear_parts
from classifiers.fit.linear_parts import TextProbe


def problem(rows=40, dim=6, classes=3):
    """Return overlapping rows of unit norm, their codes, and texts of unit norm."""
    rng = np.random.default_rng(1)
    codes = np.arange(rows) % classes
    text = unit(rng.normal(size=(classes, dim)))
    return unit(text[codes] + rng.normal(size=(rows, dim))), codes, text


def loss(X, codes, text, weights, alpha):
    """Return the mean cross-entropy of the logits x·(w_k + α_k t_k)."""
    logits = X @ (weights + alpha[:, None] * text).T
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(X)), codes]))


@pytest.mark.parametrize("dim", [6, 60])
def test_a_step_goes_down_the_slope_as_far_as_the_paper_says(monkeypatch, dim):
    """One step in w from the class sums, then one in α, by finite differences; more rows than columns, or fewer."""
    monkeypatch.setattr(linear_parts, "STEPS", 1)
    X, codes, text = problem(dim=dim)
    start, end = (TextProbe.learn(X, codes, text, rounds) for rounds in (0, 1))
    np.testing.assert_allclose(start.weights, [X[codes == k].sum(axis=0) for k in range(3)], atol=1e-12)
    np.testing.assert_allclose(start.alpha, 250 * np.mean(np.sum(X * text[codes], axis=1)))
    of_weights = approx_fprime(
        start.weights.ravel(), lambda w: loss(X, codes, text, w.reshape(3, dim), start.alpha), 1e-6
    )
    size = 4 * 40 / np.linalg.norm(X, 2) ** 2
    np.testing.assert_allclose(end.weights, start.weights - size * of_weights.reshape(3, dim), atol=1e-4)
    of_alpha = approx_fprime(start.alpha, partial(loss, X, codes, text, end.weights), 1e-6)
    size = 40 / (4 * np.max(np.sum((X @ text.T) ** 2, axis=0)))
    np.testing.assert_allclose(end.alpha, start.alpha - size * of_alpha, atol=1e-4)


def test_no_round_raises_the_loss_and_the_end_is_the_minimum():
    X, codes, text = problem()
    probes = [TextProbe.learn(X, codes, text, rounds) for rounds in (*range(12), 200)]
    losses = [loss(X, codes, text, each.weights, each.alpha) for each in probes]
    assert (np.diff(losses) < 1e-12).all()
    found = minimize(lambda w: loss(X, codes, text, w.reshape(3, 6), np.zeros(3)), np.zeros(18))  # w can absorb α t
    assert losses[-1] < found.fun + 1e-3


def test_the_head_gives_the_scores_of_the_probe_without_the_second_norm(toy):
    X, labels = toy.X[:60], toy.labels[:60]
    made = WithTexts(blend="lp++").fit(X, labels)
    mean = unit(X.astype(np.float64)).mean(axis=0)
    text = text_of(toy.classes)
    probe = TextProbe.learn(unit(unit(X.astype(np.float64)) - mean), toy.codes[:60], text)
    seen = unit(toy.X.astype(np.float64)) - mean
    expected = seen @ probe.weights.T + probe.alpha * (seen @ text.T)
    np.testing.assert_allclose(made.scores(toy.X), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(made.head_.scores(toy.X), expected, rtol=1e-4, atol=1e-3)
    assert np.mean(made.predict(toy.X) == toy.labels) > 0.8
