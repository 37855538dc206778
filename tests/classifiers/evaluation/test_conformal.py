"""Prediction sets of both kinds: hand values, order, nesting, and coverage by simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.evaluation.conformal import (
    MOST_KEPT,
    NONCONFORMITY,
    aps_of_true,
    aps_scores,
    keep,
    kept_ranks,
    lac_scores,
    prediction_sets,
    threshold,
)
from classifiers.heads.base import probabilities

PROBA = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]], np.float32)


def drawn(rng, n, n_classes=4, sharpness=2.0, wrong=1.0):
    """Return probabilities that are `wrong` times too sharp, and codes drawn from the right probabilities."""
    scores = rng.normal(size=(n, n_classes)) * sharpness
    right = probabilities(scores)
    codes = (rng.random((n, 1)) > np.cumsum(right, axis=1)).sum(axis=1).clip(max=n_classes - 1)
    return probabilities(scores * wrong).astype(np.float32), codes


def test_scores_by_hand():
    np.testing.assert_allclose(lac_scores(PROBA), [[0.5, 0.7, 0.8], [0.9, 0.9, 0.2], [0.75, 0.5, 0.75]], atol=1e-6)
    before = [[0.0, 0.5, 0.8], [0.8, 0.9, 0.0], [0.5, 0.0, 0.75]]  # ties: the earlier column is before the later one
    np.testing.assert_allclose(aps_scores(PROBA), before, atol=1e-6)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 30), n_classes=st.integers(2, 9), ties=st.booleans())
def test_scores_of_the_true_class_alone_are_the_same(seed, n, n_classes, ties):
    rng = np.random.default_rng(seed)
    proba, codes = drawn(rng, n, n_classes)
    if ties:
        proba = np.round(proba, 1)
    expected = aps_scores(proba)[np.arange(n), codes]
    np.testing.assert_allclose(aps_of_true(proba, codes), expected, rtol=1e-12, atol=1e-15)
    assert (aps_scores(proba)[np.arange(n), proba.argmax(axis=1)] == 0).all()


def test_threshold_by_hand():
    kept = keep(np.arange(1, 10) / 10)  # 9 rows: (n + 1) × 0.8 = 8, so the 8th smallest
    assert kept == tuple((np.arange(1, 10) / 10).tolist())
    asked = (0.01, 0.1, 0.11, 0.5, 0.8, 0.81, 0.9)
    assert [threshold(kept, 9, coverage) for coverage in asked] == [0.1, 0.1, 0.2, 0.5, 0.8, 0.9, 0.9]
    assert threshold(kept, 9, 0.91) == math.inf  # 9 rows can promise 9/10 and no more
    assert threshold(keep(np.array([0.3])), 1, 0.5) == 0.3


@pytest.mark.parametrize("rows", [1, 7, MOST_KEPT - 1, MOST_KEPT, MOST_KEPT + 1, 3777, 100_000])
def test_what_is_kept_gives_no_smaller_threshold_than_all_rows(rows):
    ranks = kept_ranks(rows)
    assert len(ranks) == min(rows, MOST_KEPT)
    assert (ranks[-1], ranks.min() >= 1, len(set(ranks.tolist()))) == (rows, True, len(ranks))
    scores = np.random.default_rng(rows).random(rows)
    ordered, kept = np.sort(scores), keep(scores)
    for coverage in (0.001, 0.1, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
        rank = math.ceil((rows + 1) * coverage)
        exact = ordered[rank - 1] if rank <= rows else math.inf
        found = threshold(kept, rows, coverage)
        assert found >= exact
        if rows <= MOST_KEPT:
            assert found == exact
        elif rank <= rows:
            assert found <= ordered[min(rows, rank + math.ceil(rows / MOST_KEPT)) - 1]


@pytest.mark.parametrize("kind", ["lac", "aps"])
@pytest.mark.parametrize("rows", [39, 250])
def test_sets_hold_what_they_promise_on_average(kind, rows):
    """The coverage is right even for wrong probabilities: here they are twice too sharp."""
    rng, coverages = np.random.default_rng(2), (0.75, 0.8, 0.9, 0.95)
    held, most = dict.fromkeys(coverages, 0.0), dict.fromkeys(coverages, 0.0)
    draws = 400
    for _ in range(draws):
        proba, codes = drawn(rng, rows + 100, wrong=2.0)
        scores = NONCONFORMITY[kind](proba)
        true = scores[np.arange(len(codes)), codes]
        kept = keep(true[:rows])
        for coverage in coverages:
            q = threshold(kept, rows, coverage)
            held[coverage] += np.mean(true[rows:] <= q) / draws
            most[coverage] += np.mean(true[rows:] < q) / draws
    for coverage in coverages:
        assert held[coverage] >= coverage - 0.01
        assert most[coverage] <= coverage + 1 / (rows + 1) + 0.01  # no more than promised, except for ties


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), kind=st.sampled_from(["lac", "aps"]))
def test_sets_of_larger_coverages_hold_those_of_smaller(seed, rows, kind):
    rng = np.random.default_rng(seed)
    proba, codes = drawn(rng, rows + 20)
    scores = NONCONFORMITY[kind](proba)
    kept = keep(scores[np.arange(rows), codes[:rows]])
    names = np.array(list("abcd"), dtype=object)
    coverages = np.sort(rng.random(8)).clip(1e-6, 1 - 1e-6)
    thresholds = [threshold(kept, rows, coverage) for coverage in coverages]
    assert thresholds == sorted(thresholds)
    sets = [prediction_sets(proba, scores <= q, names) for q in thresholds]
    for smaller, larger in pairwise(sets):
        assert all(set(a) <= set(b) for a, b in zip(smaller, larger, strict=True))
    for row, (found, *_) in enumerate(zip(*sets, strict=True)):
        assert found[0] == names[proba[row].argmax()]
        order = [names[k] for k in np.argsort(-proba[row], kind="stable")]
        assert list(found) == order[: len(found)]


def test_adaptive_sets_grow_where_a_head_is_unsure():
    sure, unsure = np.array([[0.9, 0.06, 0.04]]), np.array([[0.4, 0.35, 0.25]])
    sizes = [int((aps_scores(proba) <= 0.76).sum()) for proba in (sure, unsure)]
    assert sizes == [1, 3]
