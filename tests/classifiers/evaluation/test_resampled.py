"""Figures of drawn rows equal those of a table in which the drawn rows are repeated."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from classifiers.evaluation.label_figures import f1_at
from classifiers.evaluation.resampled import LEAST_DRAWS, drawn_f1_at, drawn_map, row_draws

RNG = np.random.default_rng(0)
SCORES = np.round(RNG.normal(size=(40, 6)), 1).astype(np.float32)  # with ties
TRUTH = RNG.random((40, 6)) < 0.3
TRUTH[:, 5] = False  # a label without a positive row counts in F1 alone
DRAWS = row_draws(40, 6, seed=1)[:5]


def repeated(rows):
    return [np.repeat(each, rows.astype(int), axis=0) for each in (SCORES, TRUTH)]


def test_map_is_that_of_the_repeated_rows():
    for rows, ours in zip(DRAWS, drawn_map(SCORES, TRUTH, DRAWS), strict=True):
        scores, truth = repeated(rows)
        theirs = [average_precision_score(truth[:, k], scores[:, k]) for k in range(5)]
        assert ours == pytest.approx(np.mean(theirs), rel=1e-5)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_f1_is_that_of_the_repeated_rows(k):
    theirs = [f1_at(*repeated(rows), k) for rows in DRAWS]
    np.testing.assert_allclose(drawn_f1_at(SCORES, TRUTH, k, DRAWS), theirs)


def test_a_draw_has_as_many_rows_as_the_table_and_many_cells_get_fewer_draws():
    assert (DRAWS.sum(axis=1) == 40).all()
    assert len(row_draws(1000, 10**6, seed=0)) == LEAST_DRAWS
    np.testing.assert_array_equal(row_draws(40, 6, seed=1)[:5], DRAWS)
