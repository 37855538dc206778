"""The contract of a head, checked for every kind."""

import numpy as np
import pytest
from helpers.toys import LABEL_VARIANTS, VARIANTS, fit, shaped

from classifiers.errors import BadVectors
from classifiers.heads import HEADS
from classifiers.heads.base import Head, probabilities
from classifiers.training.kinds import CLASS_KINDS

EVERY = [*VARIANTS, *LABEL_VARIANTS]


def test_every_kind_that_trains_can_be_served_and_is_in_this_suite():
    assert set(CLASS_KINDS) == {kind for kind, _ in VARIANTS.values()}
    assert set(HEADS) == set(CLASS_KINDS) | {variant.split()[0] for variant in LABEL_VARIANTS}


@pytest.mark.parametrize("variant", EVERY)
def test_the_same_rows_give_the_same_head_and_are_not_touched(variant, toy, learned):
    X, labels = toy.X.copy(), toy.labels.copy()
    X.flags.writeable = labels.flags.writeable = False
    again = fit(variant, X, labels).head_
    np.testing.assert_array_equal(X, toy.X)
    np.testing.assert_array_equal(labels, toy.labels)
    for name, array in learned(variant).head_.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])


def test_probabilities_are_such_and_sum_to_one_where_a_row_has_one_label(head, toy):
    proba = head.predict_proba(toy.X)
    assert proba.dtype == np.float32
    assert ((proba >= 0) & (proba <= 1)).all()
    if head.link == "softmax":
        np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_it_learns(head, toy):
    least = 0.7 if head.kind == "bank" and head.reads_tokens else 0.85  # statistics do not see the order of tokens
    assert np.mean(head.predict(toy.X) == toy.labels) > least


@pytest.mark.parametrize("variant", EVERY)
def test_class_order_is_that_of_the_sorted_labels_whatever_the_row_order(variant, toy, learned):
    order = np.random.default_rng(0).permutation(len(toy.X))
    shuffled = fit(variant, toy.X[order], toy.labels[order])
    assert shuffled.head_.classes == tuple(sorted(toy.classes))
    straight = learned(variant).head_
    settings = straight.settings()
    several = settings.get("components", 1) > 1  # centres of k-means depend on the order
    sampled = settings.get("bank_weight", 0) > 0  # so do the rows on which a label bank is brought to scale
    if (
        several or sampled or straight.kind in ("fusion", "bilinear", "bank", "decoder")
    ):  # held-out rows depend on the order
        assert np.mean(shuffled.head_.predict(toy.X) == straight.predict(toy.X)) > 0.94
    else:
        np.testing.assert_allclose(shuffled.head_.predict_proba(toy.X), straight.predict_proba(toy.X), atol=2e-3)


def test_round_trip_through_arrays_is_bit_equal(head, toy):
    again = type(head).from_arrays(head.arrays(), head.meta())
    np.testing.assert_array_equal(again.scores(toy.X), head.scores(toy.X))
    assert again.meta() == head.meta()
    for name, array in head.arrays().items():
        assert again.arrays()[name].tobytes() == array.tobytes()


def test_float64_input_scores_as_float32_does(head, toy):
    np.testing.assert_array_equal(head.scores(toy.X.astype(np.float64)), head.scores(toy.X))


@pytest.mark.parametrize("variant", EVERY)
def test_a_fit_in_float64_is_nearly_one_in_float32(variant, toy, learned):
    wide = fit(variant, toy.X.astype(np.float64), toy.labels).head_
    narrow = learned(variant).head_
    np.testing.assert_allclose(narrow.predict_proba(toy.X), wide.predict_proba(toy.X), atol=2e-3)


@pytest.mark.parametrize("variant", EVERY)
def test_the_head_says_what_its_estimator_says(variant, toy, learned):
    made = learned(variant)
    np.testing.assert_allclose(made.head_.predict_proba(toy.X), made.predict_proba(shaped(variant, toy.X)), atol=1e-4)


def test_a_batch_is_its_rows_one_by_one(head, toy):
    batch = head.scores(toy.X[:40])
    alone = np.concatenate([head.scores(row[None]) for row in toy.X[:40]])
    np.testing.assert_allclose(alone, batch, rtol=1e-4, atol=1e-4)
    if (density := head.log_density(toy.X[:40])) is not None:
        alone = np.concatenate([head.log_density(row[None]) for row in toy.X[:40]])
        np.testing.assert_allclose(alone, density, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 11), (3, 13), (12,), (2, 3, 12), ()])
def test_another_width_or_rank_is_an_error(head, shape):
    with pytest.raises(BadVectors, match=r"expected vectors of shape \(n, 12\)"):
        head.scores(np.zeros(shape, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_in_float32_is_an_error(head, bad):
    X = np.zeros((5, head.dim))
    X[3, 7] = bad
    for ask in (head.scores, head.predict_proba, head.predict, head.log_density):
        with pytest.raises(BadVectors, match="row 3"):
            ask(X)


def test_what_is_no_number_is_an_error(head):
    for X in (np.full((2, head.dim), "x"), np.zeros((2, head.dim), complex), np.full((2, head.dim), None)):
        with pytest.raises(BadVectors, match="real numbers"):
            head.scores(X)


def test_no_rows_get_no_answers(head):
    none = np.zeros((0, head.dim), np.float32)
    assert head.scores(none).shape == head.predict_proba(none).shape == (0, 5)
    assert head.predict(none).shape == (0,)
    assert head.top_k(none, 3)[0].shape == (0, 3)
    assert head.log_density(none) is None or head.log_density(none).shape == (0,)


def test_scoring_does_not_touch_its_input(head, toy):
    X = toy.X.copy()
    X.flags.writeable = False
    head.top_k(X, 2)
    head.log_density(X)
    np.testing.assert_array_equal(X, toy.X)


def test_top_k_is_the_sorted_head_of_the_probabilities(head, toy):
    proba = head.predict_proba(toy.X)
    labels, values = head.top_k(toy.X, 3)
    np.testing.assert_array_equal(values, -np.sort(-proba, axis=1)[:, :3])
    np.testing.assert_array_equal(labels[:, 0], head.predict(toy.X))
    assert head.top_k(toy.X, 99)[0].shape == (len(toy.X), 5)
    with pytest.raises(ValueError, match="at least 1"):
        head.top_k(toy.X, 0)


def test_temperature_changes_confidence_and_no_prediction(head, toy):
    hot = head.with_temperature(10 * head.temperature)
    np.testing.assert_array_equal(hot.predict(toy.X), head.predict(toy.X))
    undecided = 0.5 if head.link == "sigmoid" else 0.2
    assert np.abs(hot.predict_proba(toy.X) - undecided).mean() < np.abs(head.predict_proba(toy.X) - undecided).mean()


@pytest.mark.parametrize("variant", EVERY)
def test_two_rows_a_class_are_enough(variant, toy):
    few = np.concatenate([np.flatnonzero(toy.codes == k)[:2] for k in range(5)])
    head = fit(variant, toy.X[few], toy.labels[few]).head_
    least = 0.4 if head.reads_tokens else 0.5  # these heads do not see the order of their tokens
    assert np.mean(head.predict(toy.X) == toy.labels) > least


def test_arrays_of_another_shape_type_or_name_are_refused(head):
    meta = head.meta()
    for name, array in head.arrays().items():
        rest = {key: value for key, value in head.arrays().items() if key != name}
        for wrong in (rest, {**rest, name: array[:-1]}, {**rest, name: array.astype(np.float16)}):
            with pytest.raises(ValueError, match="array"):
                type(head).from_arrays(wrong, meta)
    with pytest.raises(ValueError, match="array"):
        type(head).from_arrays({**head.arrays(), "more": np.zeros(1)}, meta)
    with pytest.raises(ValueError, match="array"):
        type(head).from_arrays(head.arrays(), {**meta, "classes": meta["classes"][:-1]})


def test_sigmoid_link_gives_one_probability_per_label():
    scores = np.array([[0.0, 100.0, -100.0, np.log(3.0)]], np.float32)
    np.testing.assert_allclose(probabilities(scores, "sigmoid"), [[0.5, 1.0, 0.0, 0.75]], atol=1e-6)
    assert issubclass(HEADS["gaussian"], Head)
