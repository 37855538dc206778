"""Centres and assignments: against brute force, faiss in one call, scikit-learn, and properties."""

import faiss
import numpy as np
import pytest
from sklearn.metrics import homogeneity_score, normalized_mutual_info_score

from classifiers.clustering import kmeans
from classifiers.clustering.agreement import agreement
from classifiers.clustering.browse import overlap, typical
from classifiers.clustering.clusters import Clustering, centred, names, nearest
from classifiers.clustering.kmeans import (
    ALIKE,
    adapter_clusters,
    default_clusters,
    fit_centres,
    merge_alike,
    tidy,
)
from classifiers.errors import BadClustering, BadName, NotTrainable, UnknownClustering
from classifiers.heads.transform import unit_rows


def blobs(n: int = 400, dim: int = 10, groups: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors with a common part, like those of networks, in groups that are far apart, and their groups."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(groups, size=n)
    X = rng.normal(size=(groups, dim))[codes] + 0.1 * rng.normal(size=(n, dim)) + 3
    return X.astype(np.float32), codes


def made(X: np.ndarray, clusters: int, seed: int = 0) -> Clustering:
    return Clustering("toy", "f" * 64, *fit_centres(X, clusters, seed=seed), {"notes": []})


@pytest.mark.parametrize("clusters", [2, 6, 60])
def test_centres_have_unit_norm_and_none_is_empty(clusters):
    X, _ = blobs()
    found = made(X, clusters)
    assert np.linalg.norm(found.centres, axis=1) == pytest.approx(1, abs=1e-5)
    codes, _ = found.assign(X, 1)
    assert set(codes[:, 0]) == set(range(len(found)))


def test_groups_that_are_far_apart_are_found():
    X, truth = blobs()
    codes, cosines = made(X, 24).assign(X, 1)
    assert homogeneity_score(truth, codes[:, 0]) > 0.98
    assert cosines.min() > 0.8


def test_the_first_of_several_is_the_assignment_of_k_means():
    """The references are faiss's own index over our centres, and brute force in float64."""
    X, _ = blobs(seed=3)
    found = made(X, 40)
    codes, cosines = found.assign(X, 8)
    Z = centred(X, found.mean)
    index = faiss.IndexFlatIP(Z.shape[1])
    index.add(found.centres)
    assert (index.search(Z, 1)[1] == codes[:, :1]).all()
    every = Z.astype(np.float64) @ found.centres.T.astype(np.float64)
    assert (np.argsort(-every, axis=1, kind="stable")[:, :8] == codes).all()
    assert cosines == pytest.approx(-np.sort(-every, axis=1)[:, :8], abs=1e-5)


def test_an_iteration_a_call_is_all_in_one():
    X, _ = blobs()
    Z = centred(X, unit_rows(X).mean(axis=0))
    whole = faiss.Kmeans(10, 12, niter=kmeans.ITERATIONS, seed=5, spherical=True, min_points_per_centroid=1)
    whole.train(Z)
    calls: list[tuple[int, int]] = []
    ours = kmeans._kmeans(Z, 12, 5, lambda *call: calls.append(call))
    assert ours == pytest.approx(whole.centroids, abs=1e-6)
    assert calls[-1] == (kmeans.ITERATIONS, kmeans.ITERATIONS)


def test_the_same_seed_gives_the_same_centres():
    X, _ = blobs()
    a, b, other = made(X, 20), made(X, 20), made(X, 20, seed=1)
    assert a.centres.tobytes() == b.centres.tobytes()
    assert (a.digest, a.digest == other.digest) == (b.digest, False)


def test_a_part_at_a_time_is_all_at_once(monkeypatch):
    X, _ = blobs()
    found = made(X, 30)
    codes, cosines = found.assign(X, 4)
    monkeypatch.setattr("classifiers.clustering.clusters.CELLS", 100)  # 3 rows of cosines at a time
    parts = [found.assign(X[start : start + 7], 4) for start in range(0, len(X), 7)]
    assert (np.concatenate([part[0] for part in parts]) == codes).all()
    assert np.concatenate([part[1] for part in parts]) == pytest.approx(cosines, abs=1e-6)


def test_alike_centres_become_one_at_their_weighted_mean():
    angles = np.array([0.0, 0.1, 1.5, 0.05, 1.6])
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    sizes = np.array([1, 5, 2, 1, 2])
    left = merge_alike(centres, sizes)
    first = centres[[0, 1, 3]] * sizes[[0, 1, 3], None]
    second = centres[[2, 4]] * sizes[[2, 4], None]
    wanted = unit_rows(np.stack([first.sum(axis=0), second.sum(axis=0)]))
    assert left == pytest.approx(wanted, abs=1e-6)


def test_many_copies_of_few_rows_leave_few_clusters():
    X = np.repeat(np.eye(3, 8, dtype=np.float32) + 1, 30, axis=0)
    found = made(X, 12)
    assert len(found) == 3
    between = found.centres @ found.centres.T
    assert (between[~np.eye(3, dtype=bool)] < ALIKE).all()


def test_tidy_leaves_good_centres_alone():
    centres = np.eye(4, dtype=np.float32)
    assert tidy(np.repeat(centres, 3, axis=0), centres) is centres


@pytest.mark.parametrize("clusters", [0, 1, 401])
def test_numbers_of_clusters_that_cannot_be(clusters):
    with pytest.raises(NotTrainable, match=r"ask for 2 to 400"):
        fit_centres(blobs()[0], clusters)


def test_more_nearest_than_clusters_is_an_error():
    with pytest.raises(NotTrainable, match=r"ask for 1 to"):
        made(blobs()[0], 3).assign(blobs()[0], 9)


def test_how_many_clusters_where_nobody_says():
    assert [default_clusters(rows, 8) for rows in (1_000_000, 2_000, 100, 10, 3)] == [20_000, 40, 16, 5, 2]
    assert [adapter_clusters(rows, 8) for rows in (1_000_000, 10_000, 100)] == [20_000, 2_500, 25]
    assert [adapter_clusters(rows, 8) for rows in (100_000, 204_800, 204_850)] == [4096, 4096, 4097]
    assert [adapter_clusters(rows, 8) for rows in (60, 10)] == [16, 5]


def test_a_clustering_survives_its_folder(tmp_path):
    X, _ = blobs()
    found = made(X, 6)
    found.save(tmp_path, "six", {"report.md": b"text"})
    loaded = Clustering.load(tmp_path, "six")
    assert (loaded.digest, loaded.labels[:2], loaded.encoder) == (found.digest, ["c0000", "c0001"], "toy")
    assert (loaded.assign(X, 3)[0] == found.assign(X, 3)[0]).all()
    other = made(X, 5)
    other.save(tmp_path, "six")
    assert Clustering.load(tmp_path, "six").digest == other.digest
    assert ([path.name for path in tmp_path.iterdir()], names(tmp_path)) == (["six"], ["six"])


def test_a_clustering_that_is_missing_or_damaged_says_so(tmp_path):
    with pytest.raises(UnknownClustering, match="known: none yet"):
        Clustering.load(tmp_path, "six")
    with pytest.raises(BadName, match="clustering name"):
        Clustering.load(tmp_path, "../six")
    path = made(blobs()[0], 6).save(tmp_path, "six") / "clustering.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(BadClustering, match="not the file"):
        Clustering.load(tmp_path, "six")


def test_agreement_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, codes = rng.integers(4, size=300), rng.integers(7, size=300)
    codes[truth == 2] = 5
    found = agreement(codes, truth, 8, 6)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(truth, codes))
    assert found.purity == pytest.approx(sum(np.bincount(truth[codes == k]).max() for k in set(codes)) / 300)
    assert (found.classes, found.majority[7], found.majority[5], found.share[7]) == (4, -1, 2, 0)


def test_overlap_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    centres = unit_rows(rng.normal(size=(9, 5)).astype(np.float32))
    codes = np.stack([rng.permutation(9)[:4] for _ in range(20)])
    kept = rng.integers(1, 5, size=20)
    pairs = [
        float(centres[a] @ centres[b])
        for row, count in zip(codes, kept, strict=True)
        for i, a in enumerate(row[:count])
        for b in row[:i]
    ]
    assert overlap(centres, codes, kept) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert overlap(centres, codes, np.ones(20, np.int64)) is None


def test_the_most_typical_come_first():
    codes, cosines = np.array([1, 0, 1, 1, 0]), np.array([0.2, 0.5, 0.9, 0.4, 0.6], np.float32)
    assert typical(codes, cosines, 3, 2) == [[4, 1], [2, 3], []]


def test_nearest_breaks_ties_by_number():
    centres = np.array([[0, 1], [1, 0], [1, 0]], np.float32)
    assert nearest(np.array([[1, 0]], np.float32), centres, 2)[0].tolist() == [[1, 2]]
