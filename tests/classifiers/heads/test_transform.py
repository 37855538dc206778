"""Transforms inside heads against scikit-learn's, folded and not, and in training from a store."""

import numpy as np
import pytest
from helpers.toys import fill, ids_of, make_toy, spec_of
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from classifiers.errors import NotTrainable
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.transform import TransformPlan
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.transform import Transform, unit_blocks
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train


@pytest.fixture
def wide(toy):
    return toy.X.astype(np.float64)


@pytest.mark.parametrize("dims", [3, 0.5, 0.8, 0.95, "all"])
@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("covariance", ["tied", "diag", "full"])
def test_pca_is_scikit_learns(toy, wide, dims, whiten, covariance):
    ours = GaussianClassifier(covariance, shrinkage=0.1, project="pca", dims=dims, whiten=whiten).fit(wide, toy.labels)
    pca = PCA(None if dims == "all" else dims, whiten=whiten).fit(wide)
    Z = pca.transform(wide)
    if whiten:
        Z *= np.sqrt(len(Z) / (len(Z) - 1))  # scikit-learn divides by n - 1
    theirs = GaussianClassifier(covariance, shrinkage=0.1).fit(Z, toy.labels)
    assert ours.transform_.width == Z.shape[1]
    np.testing.assert_allclose(ours.predict_proba(wide), theirs.predict_proba(Z), atol=1e-8)
    np.testing.assert_allclose(ours.head_.predict_proba(toy.X), theirs.predict_proba(Z), atol=1e-3)


@pytest.mark.parametrize("estimator", [GaussianClassifier, LinearClassifier])
def test_what_is_affine_is_folded_into_linear_scores(toy, estimator):
    head = estimator(norm="unit", project="pca", dims=4).fit(toy.X, toy.labels).head_
    arrays = head.arrays()
    assert arrays["W"].shape == (5, 12)
    assert ("transform.matrix" in arrays) == isinstance(head, GaussianHead)  # later rows use the same transform
    assert head.transform.rowwise == Transform(12, (0, 12))


@pytest.mark.parametrize("estimator", [GaussianClassifier, LinearClassifier])
def test_unit_norm_is_of_each_block(toy, wide, estimator):
    blocks = (0, 5, 12)
    Z = np.hstack([normalize(wide[:, :5]), normalize(wide[:, 5:])])
    ours = estimator(norm="unit", blocks=blocks).fit(wide, toy.labels)
    theirs = estimator().fit(Z, toy.labels)
    np.testing.assert_allclose(ours.predict_proba(wide), theirs.predict_proba(Z), atol=1e-8)
    scale = np.repeat([7.0, 0.3], [5, 7])
    np.testing.assert_allclose(ours.predict_proba(wide * scale), ours.predict_proba(wide), atol=1e-8)


def test_a_block_of_zeros_stays_zero_and_nothing_is_touched():
    X = np.array([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]])
    X.flags.writeable = False
    np.testing.assert_allclose(unit_blocks(X, (0, 2, 4)), [[0.6, 0.8, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("covariance", ["tied", "diag", "tied-diag", "spherical", "tied-spherical", "full"])
def test_centring_changes_no_gaussian(toy, wide, covariance):
    plain = GaussianClassifier(covariance).fit(wide, toy.labels)
    centred = GaussianClassifier(covariance, project="centre").fit(wide, toy.labels)
    np.testing.assert_allclose(centred.predict_proba(wide), plain.predict_proba(wide), atol=1e-9)


def test_random_features_are_those_of_the_seed(toy, wide):
    ours = GaussianClassifier(project="ranpac", dims=40, seed=3, shrinkage=0.2).fit(wide, toy.labels)
    R = ours.head_.arrays()["transform.matrix"]
    assert R.shape == (12, 40)
    assert np.abs(np.corrcoef(R.T)).mean() < 0.4
    Z = np.maximum(wide @ R, 0)
    theirs = GaussianClassifier(shrinkage=0.2).fit(Z, toy.labels)
    np.testing.assert_allclose(ours.predict_proba(wide), theirs.predict_proba(Z), atol=1e-7)
    other = GaussianClassifier(project="ranpac", dims=40, seed=4).fit(wide, toy.labels)
    assert not np.array_equal(other.head_.arrays()["transform.matrix"], R)


def test_later_rows_go_through_the_first_ones_transform(toy, wide):
    ours = GaussianClassifier(project="pca", dims=4).partial_fit(wide[:300], toy.labels[:300], classes=toy.classes)
    first = ours.transform_
    ours.partial_fit(wide[300:], toy.labels[300:])
    assert ours.transform_ is first
    theirs = GaussianClassifier().fit(first(wide), toy.labels)
    np.testing.assert_allclose(ours.predict_proba(wide), theirs.predict_proba(first(wide)), atol=1e-9)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"norm": "l1"}, "'none' or 'unit'"),
        ({"project": "ica"}, "none, centre, pca, ranpac"),
        ({"project": "pca", "dims": 0}, "whole number"),
        ({"project": "pca", "dims": 1.5}, "share of the variance"),
        ({"project": "pca", "dims": True}, "whole number"),
        ({"project": "pca", "dims": 1.0}, "below 1, or 'all', got 1.0"),
        ({"project": "pca", "dims": 0.0}, "above 0"),
        ({"project": "pca", "dims": "most"}, "or 'all'"),
        ({"project": "ranpac", "dims": "all"}, "whole number"),
        ({"project": "ranpac", "dims": 0.5}, "whole number"),
        ({"norm": "unit", "blocks": (0, 5)}, "rise from 0 to 12"),
        ({"norm": "unit", "blocks": (0, 7, 7, 12)}, "rise from 0 to 12"),
    ],
)
def test_parameters_out_of_range_are_refused(toy, params, message):
    for estimator in (GaussianClassifier, LinearClassifier):
        with pytest.raises(ValueError, match=message):
            estimator(**params).fit(toy.X, toy.labels)


def test_components_that_the_rows_do_not_have_are_refused():
    X = np.random.default_rng(0).normal(size=(6, 20))
    with pytest.raises(NotTrainable, match=r"^9 principal components requested, .* vary in only 5 directions"):
        TransformPlan(project="pca", dims=9).learn(X)
    with pytest.raises(NotTrainable, match="all rows are equal"):
        TransformPlan(project="pca").learn(np.ones((6, 3)))


@pytest.mark.parametrize("kind", ["gaussian", "linear"])
@pytest.mark.parametrize("splits", ["hash", "train only"])
def test_training_with_encoders_side_by_side_gives_each_block_unit_norm(tmp_path, store, toy, kind, splits):
    asked = None if splits == "hash" else ["train"] * len(toy.X)
    fill(store, toy, splits=asked)
    more = make_toy(seed=1)
    probe = np.eye(2, 12, dtype=np.float32)
    store.ensure_features("more", spec_of(12, "more"), probe).put(ids_of(600), more.X * 1000)
    registry = Registry(tmp_path / "heads")
    params = {"norm": "unit", "project": "pca", "dims": 0.9}
    train(store, registry, task="toy", encoders=["toy", "more"], kind=kind, name="both", params=params)
    head = registry.load("both").head
    assert head.transform.unit == (0, 12, 24)
    X = store.matrix("toy", ["toy", "more"]).X
    scale = np.repeat([0.01, 100.0], 12).astype(np.float32)
    np.testing.assert_allclose(head.predict_proba(X * scale), head.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("covariance", ["diag", "full", "spherical", "tied-diag"])
@pytest.mark.parametrize("shrinkage", ["auto", "ledoit-wolf"])
def test_every_covariance_trains_from_a_store_and_is_calibrated_by_folds(tmp_path, store, toy, covariance, shrinkage):
    fill(store, toy, splits=["train"] * 500 + ["test"] * 100)
    registry = Registry(tmp_path / "heads")
    params = {"covariance": covariance, "shrinkage": shrinkage, "project": "pca", "dims": 10}
    made = train(store, registry, task="toy", encoders=["toy"], name="toy", params=params)
    assert made.report.evaluations["cross-validation"].rows == 500
    assert made.report.evaluations["test"].accuracy > 0.75
    published = registry.load("toy")
    used = np.atleast_1d(published.manifest.settings["shrinkage_used"])
    assert ((used >= 0) & (used <= 1)).all()
    assert published.manifest.parameters["shrinkage"] == shrinkage
    assert published.answer(toy.X[:1])[0].prediction_set
