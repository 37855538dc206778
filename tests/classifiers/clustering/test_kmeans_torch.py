"""k-means in torch against faiss, which it follows step by step, and on a card against the CPU."""

import numpy as np
import pytest
import torch

from classifiers.clustering import kmeans, kmeans_torch
from classifiers.clustering.clusters import Clustering, nearest
from classifiers.clustering.kmeans_torch import Points, permuted, ranked, splits, summed
from classifiers.fit.device import using
from classifiers.heads.transform import unit_rows

CPU = torch.device("cpu")


def directions(n, dim, seed=0):
    return unit_rows(np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32))


def by_torch(Z, clusters, seed=5, device=CPU, most=kmeans.MOST_PER_CENTRE):
    return kmeans_torch.kmeans(
        Z, clusters, seed, lambda *_: None, iterations=kmeans.ITERATIONS, most_per_centre=most, device=device
    )


def inertia(Z, centres):
    """Return the mean cosine of rows with their nearest centre; larger is better."""
    return float((Z @ centres.T).max(axis=1).mean())


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(("n", "dim", "clusters"), [(2000, 16, 40), (3000, 8, 1000), (64, 5, 64), (3000, 16, 4)])
def test_the_centres_are_those_of_faiss(n, dim, clusters, seed):
    pytest.importorskip("faiss")
    Z = directions(n, dim)
    np.testing.assert_allclose(
        by_torch(Z, clusters, seed), kmeans._kmeans(Z, clusters, seed, lambda *_: None), atol=1e-5
    )


def test_empty_clusters_are_split_as_faiss_splits_them():
    """Many equal rows leave empty clusters at the start. Equal centres tie, so only the quality has to agree."""
    pytest.importorskip("faiss")
    Z = directions(800, 6)
    Z[:500] = Z[0]
    ours, theirs = by_torch(Z, 100), kmeans._kmeans(Z, 100, 5, lambda *_: None)
    assert inertia(Z, ours) == pytest.approx(inertia(Z, theirs), rel=2e-3)


def test_the_random_order_is_that_of_faiss():
    faiss = pytest.importorskip("faiss")
    for n, seed in ((1, 3), (2, 3), (1000, 7)):
        order = np.empty(n, np.int32)
        faiss.rand_perm(faiss.swig_ptr(order), n, seed)
        assert permuted(n, n, seed).tolist() == order.tolist()
        assert permuted(n, 1, seed).tolist() == order[:1].tolist()


def test_the_split_clusters_are_drawn_one_by_one():
    """The draws of whole rounds at a time are those of a plain loop."""
    faiss = pytest.importorskip("faiss")
    sizes = np.random.default_rng(1).poisson(1.5, 60)
    random, left, wanted = faiss.RandomGenerator(1234), sizes.astype(np.float32), []
    for empty in np.flatnonzero(sizes == 0).tolist():
        full = 0
        while not np.float32(random.rand_float()) < (left[full] - 1) / np.float32(sizes.sum() - 60):
            full = (full + 1) % 60
        left[empty] = left[full] / 2
        left[full] -= left[empty]
        wanted.append((empty, full))
    assert len(wanted) > 5
    assert list(splits(sizes, int(sizes.sum()))) == wanted


def test_sums_are_those_of_each_code():
    rows, codes = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 7 * 2
    sums, sizes = summed(rows, codes, 15)
    wanted = torch.zeros(15, 3).index_add(0, codes, rows)
    torch.testing.assert_close(sums, wanted)
    assert sizes.tolist() == torch.bincount(codes, minlength=15).tolist()


def test_a_piece_at_a_time_finds_the_same(monkeypatch):
    Z = directions(500, 8)
    whole = by_torch(Z, 20)
    monkeypatch.setattr(kmeans_torch, "PIECE_VALUES", 8 * 64)
    monkeypatch.setattr(kmeans_torch, "CELLS", (20 * 10, 20 * 10))
    np.testing.assert_allclose(by_torch(Z, 20), whole, atol=1e-5)
    assert Points(Z, CPU).codes(whole).tolist() == nearest(Z, whole, 1)[0][:, 0].tolist()


@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_nearest_centres_are_those_of_numpy(count):
    Z = directions(300, 8)
    centres = np.concatenate([directions(10, 8, seed=1)] * 2)  # every centre ties with another
    with using("cpu"):
        wanted = nearest(Z, centres, count)
    codes, cosines = Points(Z, CPU).nearest(centres, count)
    np.testing.assert_allclose(cosines, wanted[1], atol=1e-6)
    np.testing.assert_array_equal(np.sort(codes % 10, axis=1), np.sort(wanted[0] % 10, axis=1))


def test_equal_values_are_in_the_order_of_their_numbers():
    codes, values = ranked(torch.tensor([[1.0, 3.0, 3.0, 0.0, 3.0]]), 5)
    assert (codes.tolist(), values.tolist()) == ([[1, 2, 4, 0, 3]], [[3.0, 3.0, 3.0, 1.0, 0.0]])


@pytest.mark.gpu
def test_a_card_finds_the_centres_of_the_cpu():
    Z, cuda = directions(20_000, 32), torch.device("cuda")
    here, there = by_torch(Z, 100), by_torch(Z, 100, device=cuda)
    assert inertia(Z, there) == pytest.approx(inertia(Z, here), rel=1e-3)
    np.testing.assert_array_equal(there, by_torch(Z, 100, device=cuda))


@pytest.mark.gpu
def test_a_clustering_made_on_a_card():
    X = directions(20_000, 32) + 0.5
    with using("cuda"):
        mean, centres = kmeans.fit_centres(X, 100, seed=3)
        again = kmeans.fit_centres(X, 100, seed=3)
        codes, cosines = Clustering("e", "f", mean, centres).assign(X, 8)
    np.testing.assert_array_equal(centres, again[1])
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    with using("cpu"):
        wanted = Clustering("e", "f", mean, centres).assign(X, 8)
    np.testing.assert_allclose(cosines, wanted[1], atol=1e-5)
    assert np.mean(codes == wanted[0]) > 0.999


@pytest.mark.gpu
def test_rows_that_stay_on_the_host_give_the_same_centres(monkeypatch):
    from classifiers.fit import resident

    Z, cuda = directions(20_000, 32), torch.device("cuda")
    there = by_torch(Z, 100, device=cuda)
    monkeypatch.setattr(resident, "SHARE", 0.0)
    monkeypatch.setattr(kmeans_torch, "PIECE_VALUES", 32 * 3000)
    assert inertia(Z, by_torch(Z, 100, device=cuda)) == pytest.approx(inertia(Z, there), rel=1e-3)
