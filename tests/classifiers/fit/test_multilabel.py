"""Multi-label heads on pooled vectors: against scikit-learn, their start, texts and thresholds."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from classifiers.errors import BadParameter, BadVectors, NotTrainable
from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.evaluation.thresholds import tune_thresholds
from classifiers.fit.multilabel.base import hold_out, label_sets, mean_text
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.heads.multilabel.base import Thresholds
from classifiers.heads.multilabel.bilinear import BilinearHead

N, D, L = 300, 10, 8
RNG = np.random.default_rng(0)
NAMES = [f"label {k}" for k in range(L)]
HIDDEN = RNG.normal(size=(L, D))  # the labels' directions
TEXT = HIDDEN @ np.linalg.qr(RNG.normal(size=(D, D)))[0] * 0.4 + HIDDEN  # their texts, near these directions
Y = RNG.random((N, L)) < 0.25
X = (Y @ HIDDEN + 0.8 * RNG.normal(size=(N, D))).astype(np.float32)
NEW = RNG.normal(size=(3, D))


def test_labelwise_is_a_logistic_regression_for_each_label():
    ours = LabelwiseClassifier(C=0.3, tol=1e-7).fit(X, Y, NAMES)
    Z = StandardScaler().fit_transform(X.astype(np.float64))
    for k in range(L):
        theirs = LogisticRegression(C=0.3, tol=1e-8, max_iter=1000).fit(Z, Y[:, k])
        np.testing.assert_allclose(ours.decision_function(X)[:, k], theirs.decision_function(Z), atol=1e-3)
    assert ours.head_.classes == tuple(NAMES) == tuple(ours.classes_)


def test_a_label_that_no_row_has_or_every_row_gets_its_log_odds_alone():
    labels = Y.copy()
    labels[:, 0], labels[:, 1] = False, True
    scores = LabelwiseClassifier().fit(X, labels).head_.scores(X)
    np.testing.assert_allclose(scores[:, 0], np.log(0.5 / (N + 0.5)), rtol=1e-5)
    np.testing.assert_allclose(scores[:, 1], np.log((N + 0.5) / 0.5), rtol=1e-5)
    only = LabelwiseClassifier().fit(X, labels[:, :2])
    assert only.n_iter_ == 0


@pytest.mark.parametrize(
    ("labels", "classes", "reason"),
    [
        (Y[:-1], None, "labels of 300 rows must be"),
        (Y[:, 0], None, "got shape"),
        (Y * 2, None, "other values"),
        (Y, NAMES[:-1], "8 columns of labels need as many"),
        (Y, ["same"] * L, "different names"),
        (None, None, "requires y"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, classes, reason):
    for fit in (LabelwiseClassifier().fit, lambda *a: BilinearClassifier().fit(*a, text=TEXT)):
        with pytest.raises(NotTrainable, match=reason):
            fit(X, labels, classes)


def test_rank_0_is_the_cosine_scaled_and_moved():
    made = BilinearClassifier(rank=0, epochs=10).fit(X, Y, NAMES, text=TEXT)
    plain = BilinearHead.cosine(NAMES, TEXT)
    cosines = (X / np.linalg.norm(X, axis=1)[:, None]) @ (TEXT / np.linalg.norm(TEXT, axis=1)[:, None]).T
    np.testing.assert_allclose(plain.scores(X), cosines, atol=1e-5)
    found, (slope, offset) = made.head_.scores(X), np.polyfit(cosines.ravel(), made.head_.scores(X).ravel(), 1)
    np.testing.assert_allclose(found, slope * cosines + offset, atol=1e-3)
    assert mean_average_precision(found, Y) == pytest.approx(mean_average_precision(cosines, Y), abs=1e-3)
    centred = BilinearHead.cosine(NAMES, TEXT, centre=X.mean(0), scale=3, bias=-1)
    again = BilinearHead.cosine(NAMES, TEXT, scale=3, bias=-1)
    np.testing.assert_allclose(centred.scores(X), again.scores(X - X.mean(0)), atol=1e-5)


@pytest.mark.parametrize("loss", ["asl", "zlpr"])
@pytest.mark.parametrize("shared", [True, False])
def test_bilinear_scores_are_the_formula_and_it_learns(loss, shared):
    made = BilinearClassifier(rank=6, loss=loss, shared=shared, centre=True, epochs=60, learning_rate=1e-2)
    head = made.fit(X, Y, NAMES, text=TEXT).head_
    a = {name: array.astype(np.float64) for name, array in head.arrays().items()}
    W = a["left"] @ a["right"].T + (np.eye(D) if shared else 0)
    u = X - X.mean(axis=0)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    t = TEXT / np.linalg.norm(TEXT, axis=1, keepdims=True)
    np.testing.assert_allclose(head.scores(X), a["scale"] * (u @ W @ t.T) + a["bias"], atol=1e-3)
    cosine = BilinearHead.cosine(NAMES, TEXT, centre=X.mean(0)).scores(X) if shared else np.zeros((N, L))
    assert mean_average_precision(head.scores(X), Y) > mean_average_precision(cosine, Y) + 0.01


def test_training_that_makes_it_worse_keeps_the_cosine():
    made = BilinearClassifier(rank=4, epochs=3, learning_rate=10.0).fit(
        HIDDEN.repeat(20, 0), np.eye(L).repeat(20, 0), text=HIDDEN
    )
    assert made.epoch_ == 0
    np.testing.assert_allclose(made.head_.arrays()["right"], 0)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"loss": "bce"}, "asl, zlpr"),
        ({"rank": -1}, "at least 0"),
        ({"rank": 0, "shared": False}, "at least 1 if shared is false"),
        ({"epochs": -1}, "epochs=-1"),
        ({"batch": 0}, "batch=0"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"held_out": 1.0}, "held_out must be a share"),
    ],
)
def test_parameters_that_are_not_allowed_are_named(params, reason):
    with pytest.raises(BadParameter, match=reason):
        BilinearClassifier(**params).fit(X, Y, text=TEXT)
    with pytest.raises(BadParameter, match="C must be a number above 0"):
        LabelwiseClassifier(C=0).fit(X, Y)


def test_texts_of_another_space_or_number_are_refused():
    with pytest.raises(BadParameter, match="share no space"):
        BilinearClassifier().fit(X, Y, text=TEXT[:, :4])
    with pytest.raises(BadVectors, match="expected 8 text vectors"):
        BilinearClassifier().fit(X, Y, text=TEXT[:-1])
    with pytest.raises(BadVectors, match="text vector 0 is zero"):
        BilinearClassifier().fit(X, Y, text=0 * TEXT)


def test_label_sets_are_the_distinct_ones_and_their_text_the_mean_of_their_labels():
    labels = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]], bool)
    sets, which = label_sets(labels)
    assert which.tolist() == [0, -1, 1, 0]
    np.testing.assert_array_equal(sets[which[which >= 0]], labels[which >= 0])
    text = RNG.normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(mean_text(sets, text), [text[0], (text[0] + text[1]) / 2], rtol=1e-6)
    assert label_sets(np.zeros((2, 3), bool))[0].shape == (0, 3)


def test_rows_held_out_are_no_rows_learned_from():
    learning, held = hold_out(Y, 0.2, seed=1)
    assert len(held) == 60
    assert sorted([*learning, *held]) == list(range(N))
    assert not len(hold_out(Y[:40], 0.2, seed=1)[1])
    assert not len(hold_out(np.zeros((N, L), bool), 0.2, seed=1)[1])


def test_the_epoch_kept_is_the_best_on_the_rows_held_out():
    made = BilinearClassifier(rank=6, epochs=20, learning_rate=1e-2, held_out=0.2).fit(X, Y, text=TEXT)
    held = hold_out(Y, 0.2, seed=0)[1]
    assert max(made.judged_) == made.judged_[made.epoch_]
    assert mean_average_precision(made.decision_function(X[held]), Y[held]) == pytest.approx(max(made.judged_))


@pytest.fixture(scope="module")
def text_head():
    """Return the head with thresholds tuned on its own training rows."""
    head = BilinearClassifier(rank=4, epochs=10).fit(X, Y, NAMES, text=TEXT).head_
    return head.with_thresholds(tune_thresholds(head.scores(X), Y))


def test_labels_are_given_from_their_thresholds_on_whatever_the_temperature(text_head):
    given = text_head.given(X)
    np.testing.assert_array_equal(given, text_head.scores(X) >= text_head.thresholds.labels)
    np.testing.assert_array_equal(text_head.with_temperature(3.0).given(X), given)
    fresh = LabelwiseClassifier().fit(X, Y, NAMES).head_
    np.testing.assert_array_equal(fresh.given(X), fresh.predict_proba(X) >= 0.5)


def test_labels_keep_their_thresholds_by_name_and_new_ones_get_the_common_one(text_head):
    other = text_head.with_labels(["new", NAMES[3]], np.stack([NEW[0], TEXT[3]]))
    common, own = text_head.thresholds.common, text_head.thresholds.labels
    np.testing.assert_array_equal(other.thresholds.labels, [common[0], own[3]])
    np.testing.assert_array_equal(other.thresholds.common, common)
    with pytest.raises(ValueError, match="thresholds"):
        text_head.with_thresholds(Thresholds.even(L - 1))


def test_other_labels_make_the_head_that_training_would_have_made_with_their_texts(text_head):
    names = [f"new {k}" for k in range(3)]
    swapped = text_head.with_labels(names, NEW)
    unit = (NEW / np.linalg.norm(NEW, axis=1, keepdims=True)).astype(np.float32)
    arrays = {
        **text_head.arrays(),
        "text": unit,
        **Thresholds(np.full(3, text_head.thresholds.common[0]), text_head.thresholds.common).arrays(),
    }
    anew = BilinearHead.from_arrays(arrays, {**text_head.meta(), "classes": names})
    np.testing.assert_allclose(swapped.scores(X), anew.scores(X), rtol=1e-5, atol=1e-5)
    assert swapped.classes == tuple(names)
    order = RNG.permutation(L)
    moved = text_head.with_labels([NAMES[k] for k in order], 3 * TEXT[order])
    np.testing.assert_allclose(moved.scores(X), text_head.scores(X)[:, order], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(moved.given(X), text_head.given(X)[:, order])


@pytest.mark.parametrize(
    ("names", "text", "reason"),
    [
        ([], NEW[:0], "at least one"),
        (["a", "a"], NEW[:2], "each once"),
        (["a"], NEW, "expected 1 text vectors"),
        (["a"], NEW[:1, :3], r"shape \(n, 10\)"),
        (["a"], np.zeros((1, D)), "is zero"),
        (["a"], np.full((1, D), np.nan), "NaN"),
    ],
)
def test_labels_that_name_nothing_are_refused(text_head, names, text, reason):
    with pytest.raises(ValueError, match=reason):
        text_head.with_labels(names, text)
