"""The learning curve finds the power law that made its figures, and predicts nothing from figures without one."""

import numpy as np
import pytest

from classifiers.evaluation.learning_curve import learning_curve

SIZES = (100, 200, 400, 800)


def rows(errors, n=4000, seed=0):
    """Return figures (n, m) of rows that heads with these error rates answer; harder rows fail under all heads."""
    difficulty = np.random.default_rng(seed).random(n)
    return (difficulty[:, None] >= np.array(errors)).astype(np.float64)


@pytest.mark.parametrize("exponent", [0.3, 0.7])
def test_a_power_law_is_found_and_continued(exponent):
    errors = 0.3 * (np.array(SIZES) / 100) ** -exponent
    curve = learning_curve(SIZES, rows(errors))
    expected = errors[-1] * (1 - 2**-exponent)
    assert curve.next.low <= expected <= curve.next.high
    assert curve.next.mean == pytest.approx(expected, rel=0.15)
    assert curve.last.low <= errors[-2] - errors[-1] <= curve.last.high
    assert [point.rows for point in curve.points] == list(SIZES)
    for point, error in zip(curve.points, errors, strict=True):
        assert point.low <= 1 - error <= point.high


@pytest.mark.parametrize(
    ("errors", "why"),
    [
        ((0.2, 0.2, 0.2, 0.2), "flat"),
        ((0.3, 0.1, 0.3, 0.1), "uneven"),
        ((0.1, 0.15, 0.2, 0.25), "falling"),
        ((0.3, 0.2, 0.1, 0.0), "no error is left"),
    ],
)
def test_nothing_is_predicted_from_points_that_do_not_support_it(errors, why):
    assert learning_curve(SIZES, rows(errors)).next is None, why


def test_a_curve_that_flattens_promises_no_more_than_its_last_step():
    curve = learning_curve(SIZES, rows((0.4, 0.3, 0.24, 0.23)))
    assert curve.next is None or curve.next.mean <= curve.last.mean


def test_two_points_show_their_gain_only():
    curve = learning_curve(SIZES[:2], rows((0.3, 0.2)))
    assert curve.next is None
    assert curve.last.low <= 0.1 <= curve.last.high
    assert curve.to_dict()["points"][1]["rows"] == 200


def test_the_interval_of_a_gain_is_paired():
    """Under two heads that fail on the same rows but for a few, the gain is far surer than the two figures are."""
    curve = learning_curve((50, 100), rows((0.42, 0.40)))
    before, now = curve.points
    assert before.high > now.low
    assert curve.last.low > 0
