"""Oracle, its control, diversity, and cascade curves: hand values and bounds."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.evaluation.reports.fusion import (
    THRESHOLDS,
    Quality,
    cascade_curve,
    disagreements,
    fusion_report,
    independent_oracle,
    oracle_accuracy,
    q_statistics,
)
from classifiers.heads.base import probabilities

RIGHT = np.array([[1, 1], [1, 0], [0, 1], [0, 0], [1, 0], [1, 1]], bool)
CODES = np.array([0, 0, 0, 0, 1, 1])


def test_oracle_and_its_control_by_hand():
    assert oracle_accuracy(RIGHT) == pytest.approx(5 / 6)
    # Class 0: both members right on 2 of 4; class 1: on 2 of 2 and 1 of 2.
    assert independent_oracle(RIGHT, CODES) == pytest.approx((4 * (1 - 0.5 * 0.5) + 2 * (1 - 0 * 0.5)) / 6)
    assert independent_oracle(RIGHT, CODES + 7) == independent_oracle(RIGHT, CODES)


def test_the_control_is_the_mean_oracle_of_columns_shuffled_within_classes():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 300)
    right = rng.random((300, 3)) < np.array([0.9, 0.5, 0.3])[codes][:, None]
    drawn = []
    for _ in range(300):
        shuffled = right.copy()
        for code in range(3):
            for member in range(3):
                rows = np.flatnonzero(codes == code)
                shuffled[rows, member] = right[rng.permutation(rows), member]
        drawn.append(oracle_accuracy(shuffled))
    assert independent_oracle(right, codes) == pytest.approx(np.mean(drawn), abs=0.003)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), members=st.integers(1, 5), n=st.integers(1, 30))
def test_the_oracle_is_never_worse_than_a_member_and_grows_with_their_number(seed, members, n):
    rng = np.random.default_rng(seed)
    right, codes = rng.random((n, members)) < rng.random(members), rng.integers(0, 3, n)
    assert oracle_accuracy(right) >= right.mean(axis=0).max()
    for few in range(1, members):
        assert oracle_accuracy(right[:, :few]) <= oracle_accuracy(right[:, : few + 1])
        assert independent_oracle(right[:, :few], codes) <= independent_oracle(right[:, : few + 1], codes) + 1e-12
    assert independent_oracle(right, codes) >= right.mean(axis=0).max() - 1e-12


def test_diversity_by_hand():
    # 2 rows both right, 1 neither, 2 only the first, 1 only the second.
    q = (2 * 1 - 2 * 1) / (2 * 1 + 2 * 1)
    np.testing.assert_allclose(q_statistics(RIGHT), [[1, q], [q, 1]])
    apart = np.array([[1, 0], [0, 1]], bool)
    np.testing.assert_allclose(q_statistics(apart), [[1, -1], [-1, 1]])
    np.testing.assert_array_equal(q_statistics(np.ones((4, 2), bool)), np.zeros((2, 2)))
    np.testing.assert_allclose(disagreements(np.array([[0, 0], [1, 2], [2, 2], [0, 1]])), [[0, 0.5], [0.5, 0]])


def test_cascade_curve_by_hand():
    codes = np.array([0, 0, 1, 1])
    p = np.array([[0.9, 0.6, 0.7, 0.2], [0.95, 0.3, 0.1, 0.1]]).T  # of class 0, per row: at the first step, at the last
    scores = np.log(np.stack([p, 1 - p], axis=2))
    first, half, last = cascade_curve(scores, codes, np.array([1.0, 5.0]), (0.0, 0.75, 2.0))
    assert (first.accuracy, first.cost, first.stopped) == (0.75, 1.0, (1.0, 0.0))
    assert (last.accuracy, last.cost, last.stopped) == (0.75, 5.0, (0.0, 1.0))
    assert (last.loss, last.loss_error) == (0.0, 0.0)
    # Rows 0 and 3 are sure at once; row 1 is then wrong, row 2 right.
    assert (half.accuracy, half.cost, half.stopped) == (0.75, 3.0, (0.5, 0.5))
    # Of the two steps, only the first is right on row 1, and only the last on row 2.
    assert first.loss == 0.0
    assert first.loss_error == pytest.approx(np.sqrt(0.5 / 4))


def test_a_curve_costs_more_the_higher_its_threshold():
    rng = np.random.default_rng(1)
    scores, codes = rng.normal(size=(200, 3, 4)) * 3, rng.integers(0, 4, 200)
    points = cascade_curve(scores, codes, np.array([1.0, 2.0, 4.0]))
    assert [point.threshold for point in points] == list(THRESHOLDS) == sorted(THRESHOLDS)
    costs = [point.cost for point in points]
    assert costs == sorted(costs)
    assert (costs[0], costs[-1]) == (1.0, 4.0)
    for stage, point in ((0, points[0]), (2, points[-1])):
        assert point.accuracy == pytest.approx(np.mean(scores[:, stage].argmax(axis=1) == codes))


def test_the_report_holds_every_rule_and_becomes_json():
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 3, 120)
    scores = (np.eye(3)[codes][:, None] * 2 + rng.normal(size=(120, 2, 3))).astype(np.float32)
    temperatures, weights = np.array([1.0, 2.0], np.float32), np.array([0.7, 0.3], np.float32)
    curve = cascade_curve(scores, codes, np.array([1.0, 2.0]), (0.0, 0.9))
    report = fusion_report(["a", "b"], scores, codes, temperatures, weights, cascade=curve)
    assert report.rows == 120
    assert set(report.members) == {"a", "b"}
    assert report.members["b"] == Quality.of(scores[:, 1], codes)
    true = probabilities(scores[:, 1].astype(np.float64))[np.arange(120), codes]
    assert report.members["b"].nll == pytest.approx(-np.log(true).mean())
    best = max(each.accuracy for each in report.members.values())
    assert report.oracle >= best
    assert report.oracle_gain == pytest.approx(report.oracle - best)
    assert {"vote-1", "vote-1, calibrated", "log-average, calibrated", "stack"} <= set(report.rules)
    assert json.loads(json.dumps(report.to_dict()))["cascade"][0]["cost"] == 1.0


def test_a_member_that_lacks_a_class_is_wrong_on_it_and_no_more():
    codes = np.array([0, 1, 2, 2])
    scores = np.stack([np.eye(3)[codes] * 5, np.eye(3)[codes] * 5], axis=1)
    scores[:, 0, 2] = -np.inf
    report = fusion_report(["a", "b"], scores, codes, np.ones(2), np.full(2, 0.5))
    assert (report.members["a"].accuracy, report.members["b"].accuracy) == (0.5, 1.0)
    assert report.rules["log-average"].accuracy == 1.0
    assert all(np.isfinite(each.nll) for each in report.rules.values())
