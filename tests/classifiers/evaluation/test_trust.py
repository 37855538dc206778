"""Reliability, risk and coverage, and AUROC against scikit-learn, hand values and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score

from classifiers.evaluation.trust import ECE_BINS, SHARES, auroc, reliability, risk_coverage, risk_coverage_area

CONFIDENCE = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.50001, 0.8, 0.9, 1.0]), min_size=1, max_size=60)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), m=st.integers(1, 40), ties=st.booleans())
def test_auroc_is_that_of_scikit_learn(seed, n, m, ties):
    rng = np.random.default_rng(seed)
    known, ood = rng.normal(size=n), rng.normal(0.5, size=m)
    if ties:
        known, ood = known.round(), ood.round()
    truth = np.repeat([0, 1], [n, m])
    expected = roc_auc_score(truth, np.concatenate([known, ood]))
    assert auroc(known, ood) == pytest.approx(expected, abs=1e-12)


def test_auroc_of_equal_scores_is_a_half():
    assert auroc(np.ones(5), np.ones(3)) == 0.5
    assert auroc(np.zeros(5), np.ones(3)) == 1.0


def test_reliability_by_hand():
    # (10/15, 11/15]: 0.7 right, 0.72 wrong; (14/15, 1]: 0.95 and 1.0 right; 0 goes to the lowest bin.
    bins = reliability(np.array([0.7, 0.72, 0.95, 1.0, 0.0]), np.array([True, False, True, True, False]))
    np.testing.assert_allclose(bins.low * ECE_BINS, [0, 10, 14])
    assert bins.rows.tolist() == [1, 2, 2]
    np.testing.assert_allclose(bins.confidence, [0, 0.71, 0.975])
    np.testing.assert_allclose(bins.accuracy, [0, 0.5, 1.0])
    assert bins.error() == pytest.approx((2 * 0.21 + 2 * 0.025) / 5)


def test_risk_coverage_by_hand():
    confidence = np.array([0.9, 0.8, 0.8, 0.5])
    right = np.array([True, True, False, False])
    found = risk_coverage(confidence, right)
    np.testing.assert_allclose(found.min_probability, [0.9, 0.8, 0.5])
    np.testing.assert_allclose(found.answered, [0.25, 0.75, 1.0])
    np.testing.assert_allclose(found.accuracy, [1.0, 2 / 3, 0.5])
    # risks of the 1, 2, 3, 4 most confident; of the two that tie either may come first, so each is half wrong
    assert risk_coverage_area(confidence, right) == pytest.approx(np.mean([0, 0.5 / 2, 1 / 3, 2 / 4]))


@settings(max_examples=80)
@given(CONFIDENCE, st.integers(0, 2**32 - 1))
def test_every_point_is_what_its_limit_gives(values, seed):
    rng = np.random.default_rng(seed)
    confidence, right = np.array(values, np.float32), rng.random(len(values)) < 0.6
    found = risk_coverage(confidence, right)
    assert 1 <= len(found.answered) <= SHARES
    assert found.answered[-1] == 1.0
    for limit, answered, accuracy in zip(found.min_probability, found.answered, found.accuracy, strict=True):
        kept = confidence >= limit
        assert (kept.mean(), right[kept].mean()) == pytest.approx((answered, accuracy))
    order = rng.permutation(len(values))
    np.testing.assert_array_equal(risk_coverage(confidence[order], right[order]).accuracy, found.accuracy)
    area = risk_coverage_area(confidence, right)
    assert area == pytest.approx(risk_coverage_area(confidence[order], right[order]))
    shuffled = [brute_area(confidence, right, rng) for _ in range(300)]
    assert area == pytest.approx(np.mean(shuffled), abs=0.07)


def brute_area(confidence, right, rng):
    """Return the mean risk of the k most confident rows, with ties in random order."""
    order = np.lexsort((rng.random(len(confidence)), -confidence))
    return np.mean(np.cumsum(~right[order]) / np.arange(1, len(order) + 1))


def test_the_curve_and_its_area_agree():
    rng = np.random.default_rng(4)
    confidence = rng.random(20_000)
    right = rng.random(20_000) < confidence
    found = risk_coverage(confidence, right)
    rough = auc(np.r_[0, found.answered], np.r_[0, 1 - found.accuracy])
    assert risk_coverage_area(confidence, right) == pytest.approx(rough, abs=0.005)
    assert risk_coverage_area(confidence, right) == pytest.approx(0.25, abs=0.01)  # ∫ of c/2 over 0…1
