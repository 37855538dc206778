"""Near-duplicates are those that the cosines of all pairs show, and a proposed threshold separates copies."""

import numpy as np
import pytest
from helpers.toys import unit
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.errors import TooManyPairs
from classifiers.review import near
from classifiers.review.groups import components, numbered


def crowd(n: int, dim: int, seed: int, classes: int = 4, spread: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(classes, dim))
    return unit(means[rng.integers(0, classes, n)] + spread * rng.normal(size=(n, dim))).astype(np.float32)


def pairs_by_all_cosines(Z: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    near_enough = np.triu(Z.astype(np.float64) @ Z.T.astype(np.float64) >= threshold, 1)
    return set(zip(*(side.tolist() for side in np.nonzero(near_enough)), strict=True))


@settings(max_examples=12)
@given(st.integers(2, 90), st.sampled_from([3, 70, 200]), st.floats(-0.2, 0.99), st.integers(0, 99))
def test_screening_misses_no_pair_and_adds_none(n, dim, threshold, seed):
    Z = crowd(n, dim, seed)
    clear = np.abs(Z.astype(np.float64) @ Z.T - threshold).min() > 1e-5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "BLOCK", 16)
        patch.setattr(near, "SCREENED", 8)
        found = near.near_pairs(Z, threshold)
        screened = near.screen(Z)
    assert (screened @ screened.T >= Z @ Z.T - 1e-4).all()
    np.testing.assert_allclose(np.linalg.norm(screened, axis=1), 1, atol=1e-4)
    assert (np.diff(found.cosine) <= 0).all()
    if clear:
        assert set(zip(found.a.tolist(), found.b.tolist(), strict=True)) == pairs_by_all_cosines(Z, threshold)


def test_a_threshold_that_is_too_low_stops_before_memory_is_full():
    with pytest.raises(TooManyPairs, match=r"more than 1,000 pairs .* at least 0\.01"):
        near.near_pairs(np.ones((200, 4), np.float32) / 2, 0.01, most=1000)


@pytest.mark.parametrize("copies", [0, 1, 4])
def test_the_proposed_threshold_separates_copies_from_neighbours(copies):
    """Also where all rows have four copies: the nearest neighbour of every row is then a copy."""
    Z = crowd(400, 64, seed=1)
    rng = np.random.default_rng(2)
    Z = np.concatenate([Z, *(unit(Z + 0.02 * rng.normal(size=Z.shape)).astype(np.float32) for _ in range(copies))])
    cosines = near.neighbours(Z, near.sample_of(len(Z)), near.RANK)
    ordered = -np.sort(-(Z @ Z.T - 3 * np.eye(len(Z))), axis=1)[:, : near.RANK]
    np.testing.assert_allclose(cosines, ordered[near.sample_of(len(Z))], atol=1e-5)
    found = near.near_pairs(Z, near.proposed_threshold(cosines))
    assert set((found.b % 400).tolist()) == (set(range(400)) if copies else set())
    assert (found.a % 400 == found.b % 400).all()
    assert len(found.a) == 400 * copies * (copies + 1) // 2


def test_vectors_in_16_bits_give_the_same_pairs_and_no_cosine_above_one():
    Z = crowd(300, 128, seed=3)
    Z[200:] = Z[:100]
    found = near.near_pairs(Z.astype(np.float16), 0.999)
    assert sorted(found.a.tolist()) == list(range(100))
    assert ((found.b - found.a) == 200).all()
    assert found.cosine.max() <= 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), min_size=1, max_size=40))
def test_groups_are_what_a_walk_along_the_pairs_reaches(pairs):
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    reached = {row: {row} for row in range(30)}
    for one, two in pairs:
        joined = reached[one] | reached[two]
        for row in joined:
            reached[row] = joined
    root = components(a, b, 30)
    assert root.tolist() == [min(reached[row]) for row in range(30)]
    group, sizes = numbered(root, a)
    assert group[0] == 1
    assert [sizes[number - 1] for number in group] == [len(reached[row]) for row in a.tolist()]
    assert len({*group.tolist()}) == len(sizes) == group.max()
