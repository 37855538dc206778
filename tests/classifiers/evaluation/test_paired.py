"""The paired bootstrap, compared with SciPy's and with arithmetic, and the rows that it must refuse."""

import numpy as np
import pytest
from scipy import stats

from classifiers.evaluation.outcomes import Outcomes
from classifiers.evaluation.paired import figures, paired_bootstrap, paired_difference


def outcomes(rng, codes, skill) -> Outcomes:
    """Return outcomes of random probabilities in which the true class is raised by `skill`."""
    logits = rng.normal(size=(len(codes), 3))
    logits[np.arange(len(codes)), codes] += skill
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Outcomes.of(proba.astype(np.float32), codes)


@pytest.fixture(scope="module")
def three():
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 3, 400)
    return [outcomes(rng, codes, skill) for skill in (2.0, 1.7, 0.5)]


def test_it_agrees_with_scipy(three):
    best, *others = three
    for other, pair in zip(others, paired_bootstrap(best, others, draws=5000), strict=True):
        for column, found in enumerate((pair.accuracy, pair.nll)):
            differences = (figures(best) - figures(other))[:, column]
            expected = stats.bootstrap(
                (differences,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
            ).confidence_interval
            assert found.mean == pytest.approx(differences.mean())
            assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.1 * (expected.high - expected.low))


def test_the_share_of_draws_is_that_of_the_normal_approximation(three):
    best, close, _ = three
    [pair] = paired_bootstrap(best, [close], draws=5000)
    differences = (figures(best) - figures(close))[:, 1]
    error = differences.std() / np.sqrt(len(differences))
    assert pair.nll.better == pytest.approx(stats.norm.cdf(-differences.mean() / error), abs=0.03)


def test_turned_round_it_says_the_opposite(three):
    a, b, _ = three
    [forth], [back] = paired_bootstrap(a, [b]), paired_bootstrap(b, [a])
    assert forth.accuracy.mean == -back.accuracy.mean
    assert (forth.nll.low, forth.nll.high) == pytest.approx((-back.nll.high, -back.nll.low))
    assert forth.accuracy.better + back.accuracy.better <= 1


def test_each_pair_is_the_same_in_any_company(three):
    a, b, c = three
    for one, among in zip(
        [*paired_bootstrap(a, [b]), *paired_bootstrap(a, [c])], paired_bootstrap(a, [b, c]), strict=True
    ):
        assert one.accuracy == among.accuracy
        assert (one.nll.low, one.nll.high) == pytest.approx((among.nll.low, among.nll.high))


def test_by_hand():
    codes = np.array([0, 1, 0, 1])
    right = Outcomes.of(np.eye(2, dtype=np.float32)[codes] * 0.6 + 0.2, codes)
    wrong = Outcomes.of(np.eye(2, dtype=np.float32)[1 - codes] * 0.6 + 0.2, codes)
    [pair] = paired_bootstrap(right, [wrong])
    assert (pair.accuracy.mean, pair.accuracy.low, pair.accuracy.high, pair.accuracy.better) == (1, 1, 1, 1)
    assert (pair.nll.low, pair.nll.high) == pytest.approx((-np.log(4), -np.log(4)))
    assert (pair.nll.better, pair.alike) == (1, False)
    [same] = paired_bootstrap(right, [right])
    assert (same.accuracy.mean, same.accuracy.better, same.nll.better, same.alike) == (0, 0, 0, True)


def test_other_rows_are_refused(three):
    a, b, _ = three
    shuffled = Outcomes.of(np.eye(3, dtype=np.float32)[b.predicted], b.codes[::-1])
    with pytest.raises(ValueError, match="same rows"):
        paired_bootstrap(a, [shuffled])
    none = Outcomes.of(np.empty((0, 3), np.float32), np.empty(0, np.int64))
    with pytest.raises(ValueError, match="no rows"):
        paired_bootstrap(none, [none])
    assert paired_bootstrap(a, []) == []


@pytest.mark.parametrize("values", [[0, 1, -1, 0, 0, 1], [0.5, -0.25, 0.1, 0.0] * 30, [0.0], [1.0] * 5])
def test_the_interval_of_differences_is_that_of_resampled_rows(values):
    values = np.array(values, np.float64)
    found = paired_difference(values, draws=20_000)
    drawn = np.random.default_rng(5).choice(values, (20_000, len(values))).mean(axis=1)
    assert found.mean == pytest.approx(values.mean())
    width = np.ptp(np.quantile(drawn, (0.025, 0.975)))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.1 * width + 1e-12)
    assert found.better == pytest.approx(np.mean(drawn > 0), abs=0.02)


def test_two_routes_to_the_same_accuracy(three):
    a, b, _ = three
    [pair] = paired_bootstrap(a, [b], draws=5000)
    found = paired_difference((figures(a) - figures(b))[:, 0], draws=5000)
    assert found.mean == pair.accuracy.mean
    assert (found.low, found.high) == pytest.approx((pair.accuracy.low, pair.accuracy.high), abs=0.01)
