"""Retrieval against a plain sort, by hand, and where nothing can be found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.evaluation import retrieval
from classifiers.evaluation.retrieval import ranks, recall_at


@given(seed=st.integers(0, 1000), n=st.integers(1, 9), m=st.integers(1, 12))
def test_recall_is_that_of_a_sorted_list(seed, n, m):
    """The reference sorts all items of each query, and looks for a relevant one among the first k."""
    random = np.random.default_rng(seed)
    queries, items = random.normal(size=(n, 4)), random.normal(size=(m, 4))
    relevant = random.random((n, m)) < 0.3
    relevant[np.arange(n), random.integers(0, m, n)] = True
    found = ranks(queries, items, relevant)
    for k in (1, 2, 5):
        hits = 0
        for row in range(n):
            first = sorted(range(m), key=lambda item: -float(queries[row] @ items[item]))[:k]
            hits += any(relevant[row, item] for item in first)
        assert recall_at(found, k) == pytest.approx(hits / n)


def test_both_directions_by_hand():
    """Two pictures, three captions: the first picture has two captions, and its second one is nearer to the other."""
    pictures, captions = np.eye(2), np.array([[1.0, 0.0], [0.1, 0.9], [0.0, 1.0]])
    whose = np.array([[True, True, False], [False, False, True]])
    assert ranks(pictures, captions, whose).tolist() == [0, 0]
    assert ranks(captions, pictures, whose.T).tolist() == [0, 1, 0]
    assert recall_at(ranks(captions, pictures, whose.T), 1) == pytest.approx(2 / 3)


def test_ties_find_nothing_and_parts_change_nothing(monkeypatch):
    assert ranks(np.ones((2, 3)), np.ones((4, 3)), np.eye(2, 4, dtype=bool)).tolist() == [3, 3]
    random = np.random.default_rng(0)
    queries, items, relevant = random.normal(size=(7, 3)), random.normal(size=(5, 3)), np.eye(7, 5, dtype=bool)
    relevant[5:, 0] = True
    whole = ranks(queries, items, relevant)
    monkeypatch.setattr(retrieval, "CELLS", 10)
    assert ranks(queries, items, relevant).tolist() == whole.tolist()
    with pytest.raises(ValueError, match="no relevant item"):
        ranks(queries, items, np.zeros((7, 5), bool))
