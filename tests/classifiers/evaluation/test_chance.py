"""The check of a head against answers that look at no vector."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from classifiers.evaluation.chance import FEW, LEVEL, doubt_of_classes, doubt_of_labels, tail, too_few_rows
from classifiers.evaluation.figures import Evaluation, evaluate


def measured(predicted, codes, n_classes=3) -> Evaluation:
    return evaluate(np.eye(n_classes, dtype=np.float32)[predicted], codes, [f"class {k}" for k in range(n_classes)])


@pytest.mark.parametrize(("won", "count"), [(0, 0), (0, 7), (5, 5), (9, 12), (300, 550), (40_500, 80_000)])
def test_the_tail_is_that_of_a_sign_test(won, count):
    expected = binomtest(won, count, alternative="greater").pvalue if count else 1.0
    assert tail(won, count) == pytest.approx(expected, rel=1e-6)


def test_heads_without_skill_rarely_pass():
    rng = np.random.default_rng(0)
    codes = np.array([0] * 10 + [1] * 10 + [2] * 10)
    assert len(codes) >= FEW
    passed = [doubt_of_classes(measured(rng.integers(0, 3, 30), codes), 0) is None for _ in range(1000)]
    assert np.mean(passed) <= LEVEL + 3 * math.sqrt(LEVEL / 1000)
    truth = rng.random((30, 4)) < 0.3
    passed = [doubt_of_labels(rng.normal(size=(30, 4)), truth) is None for _ in range(400)]
    assert np.mean(passed) <= LEVEL + 3 * math.sqrt(LEVEL / 400)


def test_a_head_with_skill_passes():
    codes = np.arange(300) % 3
    assert doubt_of_classes(measured(codes, codes), 0) is None
    mostly_one = np.array([0] * 290 + [1] * 10)  # right on the rare class is what no constant answer can be
    assert doubt_of_classes(measured(mostly_one, mostly_one), 0) is None
    truth = np.random.default_rng(0).random((100, 4)) < 0.3
    assert doubt_of_labels(truth + np.random.default_rng(1).normal(size=truth.shape), truth) is None


def test_the_constant_answer_itself_is_no_better_than_itself():
    codes = np.array([0] * 60 + [1] * 40)
    doubt = doubt_of_classes(measured(np.zeros(100, int), codes, 2), 0)
    assert doubt.startswith("This head is no better than always answering 'class 0': accuracy 0.600 against 0.600")


def test_too_few_rows_are_a_note_and_no_warning():
    """Seven rows, all right, four of the most frequent class: only three can show anything."""
    codes = np.array([0, 0, 0, 0, 1, 1, 1])
    found = measured(codes, codes, 2)
    assert doubt_of_classes(found, 0) is None
    assert too_few_rows(found, 0, "validation rows") == (
        "Only 7 validation rows: too few to show that the head is better than always answering 'class 0'. "
        "Add validation rows."
    )
    assert too_few_rows(measured(np.zeros(7, int), codes, 2), 0, "validation rows") is None
    assert "no better" in doubt_of_classes(measured(np.zeros(7, int), codes, 2), 0)


def test_many_rows_that_show_nothing_are_a_warning():
    """There are 100 rows; only the head is right on 11, only the constant answer on 9."""
    codes = np.array([0] * 60 + [1] * 40)
    predicted = np.array([1] * 9 + [0] * 51 + [1] * 11 + [0] * 29)
    assert "which may be chance" in doubt_of_classes(measured(predicted, codes, 2), 0)
    assert too_few_rows(measured(predicted, codes, 2), 0, "validation rows") is None


def test_rows_that_show_it_need_no_note():
    codes = np.arange(12) % 3
    assert too_few_rows(measured(codes, codes), 0, "validation rows") is None


def test_scores_without_skill_get_a_warning():
    rng = np.random.default_rng(0)
    truth = rng.random((200, 4)) < 0.3
    assert doubt_of_labels(rng.normal(size=truth.shape), truth).startswith("This head is no better than random answers")
    assert doubt_of_labels(np.zeros(truth.shape), truth) is not None
    assert doubt_of_labels(-truth.astype(float), truth) is not None
