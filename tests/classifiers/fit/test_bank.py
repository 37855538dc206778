"""The label bank: its parts against independent computations, and labels that training never saw."""

import numpy as np
import pytest
from helpers.toys import toy_bank, unit
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import Ridge

from classifiers.errors import BadParameter, BadVectors
from classifiers.evaluation.label_figures import average_precisions, mean_average_precision
from classifiers.fit.multilabel.bank import mixing, ridge
from classifiers.fit.multilabel.bank.estimator import BankClassifier, platt_each
from classifiers.heads.multilabel.bank.head import NOISE, BankHead, process_weights
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.bank.members import SHARPNESS, WIDTH, Member, Patches, statistics

F, P = 8, 4


@pytest.fixture(scope="module")
def tokens():
    return np.abs(np.random.default_rng(0).normal(size=(5, P, F))).astype(np.float32)


@pytest.fixture(scope="module")
def text():
    return unit(np.random.default_rng(2).normal(size=(3, F))).astype(np.float32)


@pytest.mark.parametrize("columns", [5, 60])
def test_the_ridge_is_that_of_scikit_learn(columns):
    rng = np.random.default_rng(0)
    Z, Y = rng.normal(size=(30, columns)), rng.normal(size=(30, 3)) > 0.5
    Z -= Z.mean(axis=0)
    fit = ridge.Fit.of(Z.astype(np.float32), Y.astype(np.float32))
    expected = Ridge(alpha=2.0).fit(Z, Y.astype(float))
    np.testing.assert_allclose(fit.weights(2.0), expected.coef_, atol=1e-4)
    np.testing.assert_allclose(fit.scores(Z.astype(np.float32), [2.0])[0], expected.predict(Z), atol=1e-4)


def test_out_of_fold_scores_come_from_the_other_folds():
    rng = np.random.default_rng(1)
    Z, Y = rng.normal(size=(40, 6)).astype(np.float32), (rng.random((40, 2)) > 0.5).astype(np.float32)
    folds = ridge.spread(40, 0, 5)
    penalty, scores = ridge.choose_penalty(Z, Y, folds, (0.5, 3.0))
    for fold in range(5):
        held = folds == fold
        np.testing.assert_allclose(
            scores[held], ridge.Fit.of(Z[~held], Y[~held]).scores(Z[held], [penalty])[0], atol=1e-6
        )


def test_copies_of_a_concept_stay_in_one_fold_and_common_sets_do_not():
    several = np.random.default_rng(0).random((60, 12)) > 0.7
    pairs = np.unique(several, axis=0)
    folds = ridge.row_folds(np.concatenate([pairs, pairs]), 0)
    np.testing.assert_array_equal(folds[: len(pairs)], folds[len(pairs) :])
    common = np.eye(3, dtype=bool)[np.arange(60) % 3]
    assert all(len(np.unique(ridge.row_folds(common, 0)[common[:, label]])) == ridge.FOLDS for label in range(3))


def test_statistics_are_mean_maximum_deviation_and_mean_of_roots(tokens):
    expected = [tokens.mean(1), tokens.max(1), tokens.std(1), np.sqrt(tokens).mean(1)]
    np.testing.assert_allclose(statistics(tokens), np.concatenate(expected, axis=1), atol=1e-6)
    np.testing.assert_allclose(statistics(-tokens)[:, 3 * F :], -expected[3], atol=1e-6)
    assert statistics(tokens[:, :1]).shape == (5, 2 * F)


def test_conse_is_the_log_of_the_expected_similarity(tokens, text):
    bank, patches = toy_bank(F), Patches(tokens, toy_bank(F))
    near = scipy_softmax(text @ bank.text.T / 0.1, axis=1)

    def expected(rows):
        return np.log(scipy_softmax((unit(rows) @ bank.weights.T + bank.bias) / 3.0, axis=1) @ near.T)

    each = np.stack([expected(image) for image in tokens])
    np.testing.assert_allclose(patches.score(Member("conse", 3.0, 0.1), text), expected(tokens.mean(1)), atol=1e-4)
    np.testing.assert_allclose(patches.score(Member("conse-mean", 3.0, 0.1), text), each.mean(1), atol=1e-4)
    np.testing.assert_allclose(patches.score(Member("conse-max", 3.0, 0.1), text), each.max(1), atol=1e-4)


def test_rivals_compete_for_every_token(tokens, text):
    scores = Patches(tokens, None).rivalry(text, text[:2], np.array([True, True, False]))
    cosines = np.stack([unit(image) @ text.T for image in tokens]) * SHARPNESS
    among_two = log_softmax(cosines[..., :2], axis=2).max(axis=1)
    among_three = log_softmax(cosines, axis=2).max(axis=1)
    np.testing.assert_allclose(scores, np.column_stack([among_two, among_three[:, 2]]), atol=1e-4)


def test_the_process_over_labels_is_that_of_scikit_learn(text):
    bank = toy_bank(F)
    known = np.concatenate([text, bank.text])
    values = np.random.default_rng(3).normal(size=(len(known), 4))
    asked = unit(np.random.default_rng(4).normal(size=(2, F)))
    noise = np.r_[np.full(3, NOISE), np.full(7, 2.0)]
    process = GaussianProcessRegressor(RBF(np.sqrt(WIDTH)), alpha=noise, optimizer=None).fit(known, values)
    found = process_weights(text, bank, asked.astype(np.float32), 2.0).T @ values
    np.testing.assert_allclose(found, process.predict(asked), atol=1e-5)


def test_a_label_left_out_is_predicted_by_all_others(text):
    bank = toy_bank(F)
    factors = mixing.left_out_weights(text, bank)
    for label in range(3):
        others = np.delete(np.arange(3), label)
        expected = process_weights(text[others], bank, text[[label]], NOISE)[:, 0]
        np.testing.assert_allclose(np.delete(factors[label], label), expected, atol=1e-4)
        assert factors[label, label] == 0


def test_the_mixture_is_at_least_its_best_member_and_leaves_noise_out():
    rng = np.random.default_rng(0)
    labels = rng.random((300, 4)) > 0.7
    one, two = (labels + rng.normal(size=labels.shape).astype(np.float32) for _ in range(2))
    noise = rng.normal(size=labels.shape).astype(np.float32) * 30
    found = mixing.mix({Member("a"): one, Member("b"): two, 2.0: noise}, labels)
    assert found.figure > max(mean_average_precision(one, labels), mean_average_precision(two, labels))
    assert set(found.counts) == {Member("a"), Member("b")}
    np.testing.assert_allclose(
        found.scores, found.counts[Member("a")] * one + found.counts[Member("b")] * two, rtol=1e-5
    )


def test_every_label_is_calibrated_by_itself():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4000, 2)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(np.array([3.0, 0.5]) * scores + np.array([-1.0, 1.0]))))
    slope, bias = platt_each(scores, rng.random(scores.shape) < chance)
    np.testing.assert_allclose(slope, [3.0, 0.5], atol=0.3)
    np.testing.assert_allclose(bias, [-1.0, 1.0], atol=0.2)


WIDE, CONCEPTS = 16, 24
NAMES = tuple(f"label {k:02d}" for k in range(CONCEPTS))


@pytest.fixture(scope="module")
def pictures():
    """Return tokens (n, 4, 16), labels (n, 24), texts (24, 16) near the directions of the labels, and a label bank.

    Each token shows one label; the last six labels are between the others, so that their neighbours say where they are.
    The bank knows a label near each of them, with an offset that its cosines do not show.
    """
    rng = np.random.default_rng(0)
    directions = unit(rng.normal(size=(CONCEPTS, WIDE)))
    shown = rng.integers(0, CONCEPTS, (900, 4))
    labels = np.zeros((900, CONCEPTS), bool)
    np.put_along_axis(labels, shown, True, axis=1)
    hidden = rng.normal(size=WIDE) * 2
    tokens = 1.5 * directions[shown] + rng.normal(size=(900, 4, WIDE)) * 0.4 + hidden
    texts = unit(directions + rng.normal(size=directions.shape) * 0.05)
    bank = LabelBank(
        (4 * directions).astype(np.float32), (-4 * directions @ hidden).astype(np.float32), texts.astype(np.float32)
    )
    return tokens.astype(np.float32), labels, texts.astype(np.float32), bank


@pytest.fixture(scope="module")
def learned(pictures):
    """Return the estimator that was trained on 600 rows, with the first 18 labels."""
    tokens, labels, texts, bank = pictures
    return BankClassifier().fit(tokens[:600], labels[:600, :18], NAMES[:18], text=texts[:18], bank=bank)


def flat(tokens):
    return tokens.reshape(len(tokens), -1)


def test_labels_that_were_never_trained_are_found_by_their_texts(pictures, learned):
    tokens, labels, texts, _ = pictures
    scores = learned.head_.with_labels(NAMES, texts).scores(flat(tokens[600:]))
    cosines = unit(tokens[600:].mean(axis=1)) @ texts.T
    unseen = average_precisions(scores, labels[600:])[18:].mean()
    assert unseen > average_precisions(cosines, labels[600:])[18:].mean() + 0.1
    assert average_precisions(scores, labels[600:])[:18].mean() > 0.8
    assert learned.unseen_ == pytest.approx(unseen, abs=0.1)


def test_other_labels_help_a_trained_one_as_they_did_out_of_fold(pictures, learned):
    tokens, _, _, bank = pictures
    arrays, meta = learned.head_.arrays(), learned.head_.meta()
    alone = BankHead.from_arrays({**arrays, "smooth": np.zeros_like(arrays["smooth"])}, meta)
    X = flat(tokens[600:])
    patches = Patches(tokens[600:], bank)
    z = (patches.features() - arrays["mean"]) / arrays["deviation"]
    linear = z @ arrays["linear"].T + arrays["constant"]
    help_ = np.concatenate([linear, z[:, -len(bank.bias) :]], axis=1) @ arrays["smooth"].T
    expected = alone.scores(X) + arrays["slope"] * help_
    assert np.abs(help_).max() > 0.1
    np.testing.assert_allclose(learned.head_.scores(X), expected, atol=2e-3)


def test_a_label_by_text_scores_the_same_whatever_else_is_asked(pictures, learned):
    tokens, _, texts, _ = pictures
    X, whole = flat(tokens[600:650]), learned.head_.with_labels(NAMES, texts)
    alone = learned.head_.with_labels(NAMES[20:21], texts[20:21])
    np.testing.assert_allclose(alone.scores(X)[:, 0], whole.scores(X)[:, 20], atol=1e-3)
    assert alone.text.shape == (1, WIDE)


def test_a_trained_label_keeps_its_score_and_comes_back(pictures, learned):
    tokens, _, texts, _ = pictures
    X, head = flat(tokens[600:650]), learned.head_
    asked = head.with_labels([*NAMES[20:22], NAMES[3]], texts[[20, 21, 3]])
    np.testing.assert_allclose(asked.scores(X)[:, 2], head.scores(X)[:, 3], atol=1e-3)
    again = asked.with_labels(NAMES[:18], texts[:18])
    np.testing.assert_allclose(again.scores(X), head.scores(X), atol=1e-3)
    loaded = BankHead.from_arrays(asked.arrays(), asked.meta())
    np.testing.assert_array_equal(loaded.scores(X), asked.scores(X))


def test_probabilities_of_labels_that_were_never_trained_are_calibrated(pictures, learned):
    tokens, labels, texts, _ = pictures
    proba = learned.head_.with_labels(NAMES, texts).predict_proba(flat(tokens[600:]))
    assert proba[:, :18].mean() == pytest.approx(labels[600:, :18].mean(), abs=0.03)
    assert proba[:, 18:].mean() == pytest.approx(labels[600:, 18:].mean(), abs=0.08)


def test_without_a_bank_labels_compete_and_lean_on_each_other(pictures):
    tokens, labels, texts, _ = pictures
    made = BankClassifier().fit(tokens[:600], labels[:600, :18], NAMES[:18], text=texts[:18])
    assert "bank_text" not in made.head_.arrays()
    scores = made.head_.with_labels(NAMES, texts).scores(flat(tokens[600:]))
    assert average_precisions(scores, labels[600:])[18:].mean() > labels[600:, 18:].mean() + 0.1


@pytest.mark.parametrize("penalty", [0, -1.0, np.inf, "much", True])
def test_a_penalty_that_is_no_positive_number_is_refused(pictures, penalty):
    tokens, labels, texts, _ = pictures
    with pytest.raises(BadParameter, match="penalty must be a number above 0"):
        BankClassifier(penalty=penalty).fit(tokens, labels, text=texts)


def test_rows_and_texts_that_do_not_fit_are_refused(pictures):
    tokens, labels, texts, _ = pictures
    with pytest.raises(BadVectors, match=r"\(n, 16\)"):
        BankClassifier().fit(tokens, labels, text=texts[:, :5])
    with pytest.raises(BadVectors, match="float type"):
        BankClassifier().fit(tokens.astype(int), labels, text=texts)
    with pytest.raises(BadVectors, match="NaN"):
        BankClassifier().fit(np.full_like(tokens, np.nan), labels, text=texts)
