"""Outlier scores, compared with their definition and with refits without each row; and out-of-distribution rows."""

import numpy as np
import pytest
from helpers.toys import Toy, detector_of, make_toy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from classifiers.errors import NotTrainable
from classifiers.evaluation.trust import auroc
from classifiers.fit.outlier import left_out_scores
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.outlier import OutlierDetector, PrecisionPair, doubt
from classifiers.heads.transform import unit_blocks


def statistics_of(toy: Toy, edges=()) -> GaussianStatistics:
    units = unit_blocks(toy.X, edges).astype(np.float64)
    return GaussianStatistics.of(units, toy.codes, len(toy.classes))


def shrunk(scatter, rows, shrinkage, scale):
    covariance = (1 - shrinkage) * scatter / rows
    return covariance + shrinkage * scale * np.eye(len(scatter))


def written_out(U, codes, asked, shrinkage, *, scales=None, rows=None, relative=True):
    """Return the score by its definition, from the rows themselves; scale and divisor may be set."""
    rows = len(U) if rows is None else rows
    means = {k: U[codes == k].mean(axis=0) for k in np.unique(codes)}
    own = np.array([means[k] for k in codes.tolist()])
    within, total = (U - own).T @ (U - own), (U - U.mean(axis=0)).T @ (U - U.mean(axis=0))
    scales = scales or [np.trace(each) / len(U) / U.shape[1] for each in (within, total)]
    P, P0 = (np.linalg.inv(shrunk(s, rows, shrinkage, scale)) for s, scale in zip((within, total), scales, strict=True))
    nearest = cdist(asked, np.array(list(means.values())), "mahalanobis", VI=P).min(axis=1) ** 2
    far = cdist(asked, U.mean(axis=0)[None], "mahalanobis", VI=P0)[:, 0] ** 2
    return nearest - far if relative else nearest


@pytest.mark.parametrize("edges", [(), (0, 12), (0, 5, 12)])
@pytest.mark.parametrize("relative", [True, False])
def test_score_is_its_definition(toy, edges, relative):
    statistics = statistics_of(toy, edges)
    solved = PrecisionPair.of(statistics)
    detector = OutlierDetector.fold(statistics, solved, edges, relative=relative)
    others = make_toy(seed=5).X[:50]
    U, asked = (unit_blocks(X, edges).astype(np.float64) for X in (toy.X, others))
    expected = written_out(U, toy.codes, asked, solved.shrinkage, relative=relative)
    np.testing.assert_allclose(detector.score(others), expected, rtol=1e-4, atol=1e-3)


def test_blocks_are_set_to_unit_norm_each_by_itself(toy):
    U = unit_blocks(toy.X, (0, 5, 12))
    np.testing.assert_allclose(np.linalg.norm(U[:, :5], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(U[:, 5:], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(U[:, :5] * np.linalg.norm(toy.X[:, :5], axis=1)[:, None], toy.X[:, :5], rtol=1e-5)
    assert unit_blocks(toy.X, ()) is toy.X


def test_length_of_a_block_means_nothing(toy):
    detector = detector_of(toy, (0, 5, 12))
    stretched = toy.X * np.repeat([7.0, 0.01], [5, 7]).astype(np.float32)
    np.testing.assert_allclose(detector.score(stretched), detector.score(toy.X), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-30, 1e30, 3e38])
def test_vectors_of_any_size_have_a_finite_score(toy, scale):
    X = np.sign(toy.X[:4]) * np.float32(scale)
    assert np.isfinite(detector_of(toy).score(X)).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n_classes=st.integers(2, 4), edges=st.sampled_from([(0, 6), (0, 2, 6)]))
def test_scores_of_rows_left_out_are_those_of_refits(seed, n_classes, edges):
    toy = make_toy(n=24, dim=6, n_classes=n_classes, seed=seed)
    statistics = statistics_of(toy, edges)
    solved = PrecisionPair.of(statistics)
    several = statistics.counts[toy.codes] > 1
    U = unit_blocks(toy.X, edges)
    found = left_out_scores(statistics, solved, U[several], toy.codes[several])
    wide, n = U.astype(np.float64), len(U)
    offsets = (statistics.means() - statistics.centre()) * np.sqrt(statistics.counts / n)[:, None]
    within = statistics.covariance()
    scales = [np.trace(each) / 6 for each in (within, within + offsets.T @ offsets)]
    expected = [
        written_out(np.delete(wide, i, 0), np.delete(toy.codes, i), wide[i : i + 1], solved.shrinkage,
                    scales=scales, rows=n)[0]
        for i in np.flatnonzero(several)
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_row_left_out_scores_like_a_new_one():
    """With as many columns as rows, training rows have far too low a score unless they are left out."""
    toy = make_toy(n=240, dim=120, n_classes=4, seed=1)
    half = Toy(toy.X[:120], toy.codes[:120], toy.labels[:120], toy.classes)
    edges = (0, 120)
    statistics = statistics_of(half, edges)
    solved = PrecisionPair.of(statistics)
    detector = OutlierDetector.fold(statistics, solved, edges)
    new, learned = detector.score(toy.X[120:]), detector.score(half.X)
    left_out = left_out_scores(statistics, solved, unit_blocks(half.X, edges), half.codes)
    assert auroc(learned, new) > 0.9
    assert auroc(left_out, new) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("far", [0.5, 2.0, 50.0])
def test_out_of_distribution_rows_score_high_in_every_direction(toy, far):
    """Both covariances have one shrinkage, so the score rises even in directions in which all classes are equal."""
    dim = 40
    rng = np.random.default_rng(3)
    flat = np.hstack([toy.X, rng.normal(size=(600, dim - 12)).astype(np.float32)])  # 28 columns of noise
    wide = Toy(flat, toy.codes, toy.labels, toy.classes)
    statistics = statistics_of(wide)
    detector = OutlierDetector.fold(statistics, PrecisionPair.of(statistics), ())
    assert np.linalg.eigvalsh(detector.Q.astype(np.float64)).min() > 0
    directions = np.eye(dim, dtype=np.float32)[12:]
    moved = flat[:28] + 20 * far * directions
    assert (detector.score(moved) > detector.score(flat[:28])).all()


def test_arrays_give_the_same_detector_back(toy):
    detector = detector_of(toy, (0, 5, 12))
    again = OutlierDetector.from_arrays(detector.arrays())
    np.testing.assert_array_equal(again.score(toy.X), detector.score(toy.X))
    assert (again.edges, again.dim) == ((0, 5, 12), 12)
    assert detector.score(toy.X[:0]).shape == (0,)


@pytest.mark.parametrize(
    "changes",
    [
        {"Q": np.zeros((12, 11), np.float32)},
        {"Q": np.zeros((12, 12))},
        {"b": np.zeros(4, np.float32)},
        {"W": np.zeros(12, np.float32)},
        {"edges": np.array([0, 5])},
        {"edges": np.array([0, 7, 5, 12])},
        {"edges": np.array([[0, 12]])},
        {"more": np.zeros(1)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(toy, changes):
    with pytest.raises(ValueError, match=r"array|blocks"):
        OutlierDetector.from_arrays({**detector_of(toy).arrays(), **changes})


def test_classes_without_rows_count_for_nothing(toy):
    more = GaussianStatistics.of(toy.X, toy.codes * 2, 10)
    solved = PrecisionPair.of(more)
    found = OutlierDetector.fold(more, solved, ()).score(toy.X[:9])
    plain = statistics_of(toy)
    np.testing.assert_allclose(
        found, OutlierDetector.fold(plain, PrecisionPair.of(plain), ()).score(toy.X[:9]), rtol=1e-3
    )
    left_out = left_out_scores(more, solved, toy.X[:9], toy.codes[:9] * 2)
    np.testing.assert_allclose(left_out, left_out_scores(plain, solved, toy.X[:9], toy.codes[:9]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("codes", "n_classes"), [([0, 0, 0, 0], 1), ([0, 1, 2, 3], 4)])
def test_one_class_or_one_row_a_class_give_no_detector(toy, codes, n_classes):
    with pytest.raises(NotTrainable, match="two classes with rows"):
        PrecisionPair.of(GaussianStatistics.of(toy.X[:4], np.array(codes), n_classes))


def test_doubt_is_what_the_best_class_lacks():
    np.testing.assert_allclose(doubt(np.array([[0.7, 0.3], [0.5, 0.5]])), [0.3, 0.5])
