"""Gaussian heads of fewer rows than columns: solved in the space of the rows, with the results of all columns."""

import numpy as np
import pytest
from helpers.toys import fill, make_toy
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.heads.base import probabilities
from classifiers.training.learning.streamed import Trainings, learn_streamed
from classifiers.training.learning.tuning import AUTO
from classifiers.training.rows.rows import Rows

ROWS, DIM = 90, 150


@pytest.fixture
def wide():
    """Return a toy with fewer rows than columns."""
    return make_toy(n=ROWS, dim=DIM, n_classes=4, spread=0.3)


@pytest.fixture(params=["val", "folds"])
def rows(store, wide, request):
    fill(store, wide, splits=["train"] * ROWS if request.param == "folds" else None)
    return Rows(store, "toy", ("toy",), store.snapshot())


@pytest.mark.parametrize("asked", [{}, {"norm": "unit"}, {"project": "centre"}], ids=str)
def test_the_space_of_the_rows_gives_the_shrinkage_and_scores_of_all_columns(rows, asked):
    estimator, classes = GaussianClassifier(**asked), rows.classes()
    matrix = rows.matrix("train", classes)
    estimator.fit(matrix.X, matrix.codes)
    dual = Trainings.of(estimator.statistics_, estimator, estimator.transform_, rows, classes)
    primal = Trainings(estimator.statistics_, dual.model, estimator.transform_, DIM, rows, classes)
    assert dual.statistics.dim == len(matrix.ids) < DIM
    assert dual.tuned().shrinkage == pytest.approx(primal.tuned().shrinkage, rel=1e-4)
    for ours, theirs in zip(dual.unseen(0.3), primal.unseen(0.3), strict=True):
        np.testing.assert_array_equal(ours.truth, theirs.truth)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-3 * np.ptp(theirs.scores))


def test_held_out_rows_are_scored_by_the_heads_of_the_other_folds(store, wide):
    """The reference is scikit-learn's LDA on all columns, fold by fold, at the shrinkage that training chose."""
    fill(store, wide, splits=["train"] * ROWS)
    rows = Rows(store, "toy", ("toy",), store.snapshot())
    estimator = GaussianClassifier(shrinkage=AUTO)
    learned = learn_streamed(estimator, rows, rows.classes())
    for view, part in zip(rows.validations(), learned.validated, strict=True):
        train, (X, codes) = view.matrix("train", rows.classes()), view.first("val", rows.classes(), ROWS)
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=estimator.shrinkage)
        lda.fit(train.X.astype(np.float64), train.codes)
        np.testing.assert_array_equal(part.truth, codes)
        np.testing.assert_allclose(probabilities(part.scores), lda.predict_proba(X.astype(np.float64)), atol=2e-3)


@pytest.mark.parametrize("whiten", [False, True])
def test_components_of_few_rows_are_scikit_learns(wide, whiten):
    transform = GaussianClassifier(project="pca", dims=20, whiten=whiten).fit(wide.X, wide.codes).transform_
    theirs = PCA(20, whiten=whiten, svd_solver="full").fit_transform(wide.X.astype(np.float64))
    scale = np.sqrt(ROWS / (ROWS - 1)) if whiten else 1.0  # scikit-learn divides by n - 1
    np.testing.assert_allclose(np.abs(transform(wide.X)), np.abs(theirs) * scale, atol=2e-3 * theirs.max())


def test_all_components_of_few_rows_are_as_many_as_the_rows_vary_in(wide):
    fitted = GaussianClassifier(project="pca", dims="all").fit(wide.X, wide.codes)
    assert fitted.transform_.width == fitted.statistics_.dim == ROWS - 1
    whole = GaussianClassifier(project="centre", shrinkage=0.5).fit(wide.X, wide.codes)
    inner = GaussianClassifier(project="pca", dims="all", shrinkage=0.5 * (ROWS - 1) / DIM).fit(wide.X, wide.codes)
    assert np.mean(whole.predict(wide.X) == inner.predict(wide.X)) > 0.99
