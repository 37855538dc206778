"""Temperature and outlier percentiles against hand values and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from classifiers.evaluation.calibration import fit_temperature, least_temperature, outlier_percentile, score_quantiles
from classifiers.heads.base import probabilities


def drawn(seed, n, n_classes, scale):
    """Return scores that are `scale` times too large, and codes drawn from the right probabilities."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, n_classes)) * 2
    codes = np.array([rng.choice(n_classes, p=row) for row in probabilities(scores)])
    return scores * scale, codes


def nll(scores, codes, temperature):
    return log_loss(codes, probabilities(scores, "softmax", temperature), labels=np.arange(scores.shape[1]))


@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0, 60.0])
def test_temperature_finds_the_scale(scale):
    scores, codes = drawn(0, 4000, 4, scale)
    temperature = fit_temperature(scores, codes)
    assert temperature == pytest.approx(scale, rel=0.15)
    best = minimize_scalar(lambda log_t: nll(scores, codes, np.exp(log_t)), bounds=(-4, 6), method="bounded")
    assert temperature == pytest.approx(np.exp(best.x), rel=1e-3)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 40),
    n_classes=st.integers(2, 6),
    scale=st.sampled_from([1e-3, 0.3, 1.0, 30.0, 1e4]),
)
def test_temperature_is_never_worse_than_none(seed, n, n_classes, scale):
    rng = np.random.default_rng(seed)
    scores = (rng.normal(size=(n, n_classes)) * scale).astype(np.float32)
    codes = rng.integers(0, n_classes, n)
    temperature = fit_temperature(scores, codes)
    assert 0 < temperature < np.inf
    rows = np.arange(n)

    def exact(t):
        wide = scores.astype(np.float64) / t
        return float(np.mean(np.logaddexp.reduce(wide, axis=1) - wide[rows, codes]))

    assert exact(temperature) <= exact(1.0) * (1 + 1e-9) + 1e-9


def test_temperature_without_rows_is_one():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_temperature_is_finite_when_all_rows_are_right_or_all_wrong():
    scores, codes = np.eye(3) * 2, np.arange(3)
    assert 0 < fit_temperature(scores, codes) < 1
    assert 1 < fit_temperature(scores, (codes + 1) % 3) < np.inf


@pytest.mark.parametrize("n", [2, 6, 40, 300])
def test_rows_that_are_all_right_do_not_make_a_head_certain(n):
    rng = np.random.default_rng(n)
    codes = rng.integers(0, 3, n)
    scores = (np.eye(3)[codes] + rng.uniform(0, 0.5, (n, 3))).astype(np.float32)
    temperature = fit_temperature(scores, codes)
    assert temperature < 1
    confidence = probabilities(scores, "softmax", temperature).max(axis=1).mean()
    assert confidence == pytest.approx((n + 1) / (n + 2), abs=1e-3)


def test_a_sure_head_that_was_always_right_is_left_as_it_is():
    codes = np.arange(9) % 3
    assert fit_temperature(np.eye(3)[codes] * 20, codes) == 1.0


def test_temperature_takes_classes_that_are_never_predicted():
    scores, codes = drawn(1, 500, 3, 5.0)
    impossible = np.column_stack([scores, np.full(500, -np.inf)])
    assert fit_temperature(impossible, codes) == pytest.approx(fit_temperature(scores, codes), rel=1e-6)


def test_outlier_percentile_is_the_share_of_more_ordinary_rows():
    scores = np.random.default_rng(3).normal(size=2000) * 5 - 40
    quantiles = score_quantiles(scores)
    assert list(quantiles) == sorted(quantiles)
    asked = np.array([-1000.0, scores.min(), np.median(scores), scores.max(), 1000.0])
    np.testing.assert_allclose(outlier_percentile(asked, quantiles), [0, 0, 50, 100, 100], atol=1e-9)
    share = [100 * np.mean(scores < value) for value in scores[:200]]
    np.testing.assert_allclose(outlier_percentile(scores[:200], quantiles), share, atol=1.0)
    assert score_quantiles(np.zeros(0)) == ()


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(2, 6), st.sampled_from([1e-3, 1.0, 30.0, 1e5]))
def test_the_least_temperature_keeps_rows_from_being_surer_than_their_number_allows(seed, n, n_classes, scale):
    scores, _ = drawn(seed, n, n_classes, scale)
    temperature = least_temperature(scores)
    allowed = max((n + 1) / (n + 2), 1 / n_classes)

    def confidence(at):
        return probabilities(scores, "softmax", at).max(axis=1).mean()

    assert temperature >= 1
    assert confidence(temperature) <= allowed + 1e-6
    if temperature > 1:
        assert confidence(temperature / 1.001) > allowed


def test_without_rows_the_least_temperature_is_1():
    assert least_temperature(np.empty((0, 3))) == 1.0
