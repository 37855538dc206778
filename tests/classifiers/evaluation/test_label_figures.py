"""Figures and thresholds for rows with several labels, compared with scikit-learn, hand values and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from classifiers.evaluation.label_figures import (
    average_precisions,
    evaluate_labels,
    evaluate_zero_shot,
    mean_average_precision,
)
from classifiers.evaluation.thresholds import tune_thresholds

N, L = 160, 7
NAMES = [f"label {k}" for k in range(L)]
RNG = np.random.default_rng(0)
TRUTH = RNG.random((N, L)) < 0.25
TRUTH[:, -1] = False  # a label that no row has
SCORES = np.round(RNG.random((N, L)) + 0.3 * TRUTH, 1).astype(np.float32)  # with many ties


def test_average_precision_is_that_of_scikit_learn_with_ties():
    found = average_precisions(SCORES, TRUTH)
    by_label = [average_precision_score(TRUTH[:, k], SCORES[:, k]) for k in range(L - 1)]
    np.testing.assert_allclose(found[:-1], by_label, rtol=1e-12)
    assert np.isnan(found[-1])
    assert mean_average_precision(SCORES, TRUTH) == pytest.approx(
        average_precision_score(TRUTH[:, :-1], SCORES[:, :-1], average="macro")
    )


def test_figures_at_thresholds_are_those_of_scikit_learn():
    limits = np.linspace(0.5, 1.2, L)
    limits[-1] = 9.0  # nor is it ever predicted
    found, predicted = evaluate_labels(SCORES, TRUTH, NAMES, limits), limits <= SCORES
    assert found.micro_f1 == pytest.approx(f1_score(TRUTH, predicted, average="micro"))
    assert found.macro_f1 == pytest.approx(f1_score(TRUTH, predicted, average="macro", zero_division=np.nan))
    np.testing.assert_allclose(found.precision, precision_score(TRUTH, predicted, average=None, zero_division=0))
    np.testing.assert_allclose(found.recall, recall_score(TRUTH, predicted, average=None, zero_division=0))
    np.testing.assert_array_equal(found.support, TRUTH.sum(axis=0))
    assert set(found.summary()) == {"rows", "map", "micro_f1", "macro_f1", "f1_at_3", "f1_at_5"}


@pytest.mark.parametrize("k", [3, 5])
def test_f1_at_k_is_micro_f1_of_the_k_best(k):
    scores = RNG.random((N, L))
    chosen = np.zeros((N, L), bool)
    for row, order in enumerate(np.argsort(-scores, axis=1)):
        chosen[row, order[:k]] = True
    found = evaluate_labels(scores, TRUTH, NAMES)
    assert getattr(found, f"f1_at_{k}") == pytest.approx(f1_score(TRUTH, chosen, average="micro"))


def test_f1_at_k_by_hand_and_input_untouched():
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.1, 0.2, 0.3, 0.4]])
    truth = np.array([[1, 0, 1, 0], [1, 0, 0, 0]])
    scores.flags.writeable = truth.flags.writeable = False
    found = evaluate_labels(scores, truth, list("abcd"))
    assert found.f1_at_3 == pytest.approx(2 * 2 / (6 + 3))
    assert found.f1_at_5 == pytest.approx(2 * 3 / (8 + 3))  # there are only four labels
    assert found.micro_f1 == pytest.approx(2 * 2 / (3 + 3))


def test_zero_shot_is_the_unseen_labels_alone_and_generalised_all_of_them():
    seen = np.arange(L) % 2 == 0
    found = evaluate_zero_shot(SCORES, TRUTH, NAMES, seen, thresholds=0.7)
    alone = evaluate_labels(SCORES[:, ~seen], TRUTH[:, ~seen], [NAMES[k] for k in (1, 3, 5)], 0.7)
    every = evaluate_labels(SCORES, TRUTH, NAMES, 0.7)
    assert found.zsl.summary() == alone.summary()
    assert found.zsl.classes == alone.classes
    assert found.gzsl.summary() == every.summary()
    worse = SCORES.copy()
    worse[:, seen] += 5  # too high scores of seen labels hurt only in GZSL, where they compete with unseen labels
    biased = evaluate_zero_shot(worse, TRUTH, NAMES, seen, thresholds=0.7)
    assert biased.zsl.summary() == found.zsl.summary()
    assert biased.gzsl.f1_at_3 != found.gzsl.f1_at_3


@pytest.mark.parametrize(
    ("seen", "reason"),
    [(np.ones(L, bool), "need an unseen label"), (np.ones(3, bool), "bool for each of 7"), (np.ones(L), "float64")],
)
def test_masks_that_do_not_fit_are_refused(seen, reason):
    with pytest.raises(ValueError, match=reason):
        evaluate_zero_shot(SCORES, TRUTH, NAMES, seen)


@pytest.mark.parametrize(
    ("scores", "truth", "reason"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2)), "no rows"),
        (np.zeros((2, 2)), np.zeros((2, 3)), r"\(2, 2\) and \(2, 3\)"),
        (np.zeros(3), np.zeros(3), "must both be"),
        (np.array([[0.0], [np.nan]]), np.zeros((2, 1)), "row 1 are NaN"),
        (np.zeros((2, 1)), np.array([[0], [2]]), "other values"),
    ],
)
def test_what_cannot_be_evaluated_is_said(scores, truth, reason):
    for ask in (
        lambda: evaluate_labels(scores, truth, ["a", "b"][: scores.shape[-1]]),
        lambda: tune_thresholds(scores, truth),
    ):
        with pytest.raises(ValueError, match=reason):
            ask()


def test_no_threshold_has_a_better_f1_and_labels_without_positives_get_the_common_one():
    tuned = tune_thresholds(SCORES, TRUTH)
    every = np.unique(SCORES)

    def best(truth, scores):
        return max(f1_score(truth, scores >= limit, zero_division=0) for limit in every)

    for k in range(L - 1):
        reached = f1_score(TRUTH[:, k], SCORES[:, k] >= tuned.labels[k])
        assert reached == pytest.approx(best(TRUTH[:, k], SCORES[:, k]))
    together = f1_score(TRUTH.ravel(), SCORES.ravel() >= tuned.common[0])
    assert together == pytest.approx(best(TRUTH.ravel(), SCORES.ravel()))
    assert tuned.labels[-1] == tuned.common[0]


def test_without_any_positive_nothing_is_given():
    tuned = tune_thresholds(SCORES, np.zeros_like(TRUTH))
    assert not (tuned.labels <= SCORES).any()


def test_a_threshold_lies_midway_unless_no_number_does():
    assert tune_thresholds([[1.0], [3.0]], [[0], [1]]).labels[0] == 2
    assert tune_thresholds([[1.0], [3.0]], [[1], [1]]).labels[0] == 1
    near = np.nextafter(np.float32(1), np.float32(2))
    assert tune_thresholds(np.array([[np.float32(1)], [near]]), [[0], [1]]).labels[0] == near


@given(st.lists(st.tuples(st.floats(-5, 5, width=32), st.booleans()), min_size=1, max_size=12))
def test_the_threshold_of_any_scores_is_as_good_as_the_best_cut(rows):
    scores, truth = np.array([s for s, _ in rows], np.float32), np.array([t for _, t in rows])
    limit = tune_thresholds(scores[:, None], truth[:, None]).labels[0]
    best = max(f1_score(truth, scores >= each, zero_division=0) for each in [*scores, np.inf])
    assert f1_score(truth, scores >= limit, zero_division=0) == pytest.approx(best)
