"""Results that are kept while a comparison runs: the same as without, computed once, and never too many."""

import numpy as np
import pytest

from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.held_out import Learner, out_of_fold
from classifiers.fit.remembered import remembered, remembering, saved_seconds

CALLS = []


@remembered
def doubled(X, by=2):
    CALLS.append(X.shape)
    return X * by, [len(X)]


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()


def test_equal_arguments_are_computed_once_inside_and_each_time_outside():
    X = np.arange(6.0).reshape(2, 3)
    doubled(X)
    doubled(X)
    assert len(CALLS) == 2
    with remembering():
        first, again = doubled(X), doubled(np.asfortranarray(X).copy(order="C"))
        assert again is first
    np.testing.assert_array_equal(first[0], 2 * X)
    assert len(CALLS) == 3
    with remembering():
        doubled(X)
    assert len(CALLS) == 4


def test_other_values_shapes_types_and_parameters_are_other_arguments():
    X = np.zeros((2, 3))
    others = [X, X + 1, X.reshape(3, 2), X.astype(np.float32), np.zeros((2, 3), np.int64)]
    with remembering():
        found = [doubled(each)[0] for each in others] + [doubled(X, by=3)[0]]
    assert len(CALLS) == len(found) == 6
    for each, result in zip(others, found, strict=False):
        np.testing.assert_array_equal(result, 2 * each)
        assert result.shape == each.shape


def test_the_results_that_were_not_used_for_longest_make_room():
    A, B, C = (np.full(100, value, np.float64) for value in range(3))
    with remembering(most_bytes=1700):
        for each in (A, B, A, C, A):  # C needs the room of B
            doubled(each)
        assert len(CALLS) == 3
        doubled(B)
        assert len(CALLS) == 4
        huge = np.zeros(1000)
        np.testing.assert_array_equal(doubled(huge)[0], huge)
        doubled(huge)  # it had no room
        assert len(CALLS) == 6


CLOCK = [0.0]


@remembered
def slow(number):
    CLOCK[0] += 1.0
    return number


@remembered
def slower(number, of):
    CLOCK[0] += 10.0
    return slow(number) * of


def test_the_seconds_that_were_saved_are_those_that_the_steps_took(monkeypatch):
    monkeypatch.setattr("classifiers.fit.remembered.time.perf_counter", lambda: CLOCK[0])
    with remembering():
        slower(3, 2)
        assert saved_seconds() == 0
        slow(3)
        assert saved_seconds() == 1
        slower(3, 5)  # computed, but for its inner step
        assert saved_seconds() == 2
        slower(3, 5)  # would have taken the time of both steps
        assert saved_seconds() == 2 + 11
    assert saved_seconds() == 0


def test_two_rules_of_fusion_share_their_members_scores(hard, monkeypatch):
    fits, fit = [], GaussianClassifier.fit
    monkeypatch.setattr(GaussianClassifier, "fit", lambda self, X, y: fits.append(len(X)) or fit(self, X, y))
    asked = {"blocks": (0, 4, 8, 12), "folds": 2}
    alone = FusionClassifier(rule="log-average", **asked).fit(hard.X, hard.labels)
    assert len(fits) == 3 * (2 + 1)
    with remembering():
        FusionClassifier(**asked).fit(hard.X, hard.labels)
        shared = FusionClassifier(rule="log-average", **asked).fit(hard.X, hard.labels)
    assert len(fits) == 3 * (2 + 1) + 3 * (2 + 1) + 3
    assert shared.head_.scores(hard.X).tobytes() == alone.head_.scores(hard.X).tobytes()
    np.testing.assert_array_equal(shared.fused_, alone.fused_)


def test_members_with_other_parameters_or_folds_share_nothing(hard):
    codes, rows = np.unique(hard.labels, return_inverse=True)[1], np.arange(len(hard.X))
    cases = [(0.5, rows % 2), (0.4, rows % 2), (0.5, rows % 3)]
    learners = [(Learner(GaussianClassifier(shrinkage=each)), fold) for each, fold in cases]
    with remembering():
        inside = [out_of_fold(learner, hard.X, codes, fold) for learner, fold in learners]
    for (learner, fold), found in zip(learners, inside, strict=True):
        for ours, theirs in zip(found, out_of_fold(learner, hard.X, codes, fold), strict=True):
            np.testing.assert_array_equal(ours[2], theirs[2])
