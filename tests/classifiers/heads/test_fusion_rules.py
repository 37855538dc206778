"""Fusion rules: values worked out by hand, and invariance to the order of classes and of members."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.heads.base import probabilities
from classifiers.heads.fusion.cascade import NEVER, Cascade, stopping, sureness
from classifiers.heads.fusion.combiner import ALL_RULES, Combiner
from classifiers.heads.fusion.gate import (
    Gate,
    agreement_statistics,
    gate_inputs,
    gate_width,
    inverse_softplus,
    layer_norm,
    softplus,
)
from classifiers.heads.fusion.rules import RULES, filled, log_softmax, weighted
from classifiers.heads.transform import unit_rows

P = np.array([[[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.1, 0.4]]])
"""One row, three members, three classes."""


@st.composite
def scored(draw):
    """Draw scores (n, B, K) without ties; sometimes one member lacks a class, and sometimes all lack one.

    No member is very sure, because a probability of 1 and another member's class filled in at 1 would tie.
    """
    n, members, classes = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(2, 5))
    scale = draw(st.sampled_from([0.1, 3.0, 200.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.normal(size=(n, members, classes)) * scale
    if scale < 10 and classes > 2 and draw(st.booleans()):
        scores[:, 0, 1] = -np.inf
        if classes > 3 and draw(st.booleans()):
            scores[:, :, 2] = -np.inf
    return scores


def combined(rule, scores, temperatures=None):
    members = scores.shape[1]
    ones = np.ones(members, np.float32)
    return Combiner(rule, ones if temperatures is None else temperatures, inverse_softplus(ones / members)).scores(
        scores, []
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("vote-1", [2 + 0.5 * 1.3 / 3, 1 + 0.5 * 1.1 / 3, 0.5 * 0.6 / 3]),
        ("vote-3", [3 + 2 + 3 + 0.5 * 1.3 / 3, 2 + 3 + 1 + 0.5 * 1.1 / 3, 1 + 1 + 2 + 0.5 * 0.6 / 3]),
        ("confidence", [0.2, 0.7, 0.1]),
        ("log-average", np.cbrt([0.6 * 0.2 * 0.5, 0.3 * 0.7 * 0.1, 0.1 * 0.1 * 0.4])),
        ("probability-average", [1.3 / 3, 1.1 / 3, 0.6 / 3]),
    ],
)
def test_rules_by_hand(rule, expected):
    scores = RULES[rule](np.log(P))
    np.testing.assert_allclose(np.exp(scores), [expected], rtol=1e-12)
    np.testing.assert_allclose(probabilities(scores), [np.array(expected) / np.sum(expected)], rtol=1e-12)


def test_votes_that_tie_go_by_summed_probability():
    p = np.array([[[0.51, 0.49, 0.0], [0.02, 0.98, 0.0]], [[0.98, 0.02, 0.0], [0.49, 0.51, 0.0]]])
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    assert RULES["vote-1"](logs).argmax(axis=1).tolist() == [1, 0]
    borda = np.array([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]])  # 3 + 2 points each for classes 0 and 1: 0.6 against 1.1
    borda[0, 1] = [0.15, 0.8, 0.05]
    assert RULES["vote-3"](np.log(borda)).argmax() == 1


def test_the_average_of_logits_is_the_average_of_log_probabilities():
    scores = np.random.default_rng(0).normal(size=(50, 3, 4)) * 5 + 100
    temperatures = np.array([1.0, 4.0, 0.5], np.float32)
    direct = (scores / temperatures.astype(float)[:, None]).mean(axis=1)
    np.testing.assert_allclose(probabilities(combined("log-average", scores, temperatures)), probabilities(direct))


def test_a_rule_saved_by_its_old_name_is_read_as_the_same_rule():
    combiner = Combiner("log-average", np.array([1.0, 2.0], np.float32), np.array([0.5, 0.5], np.float32))
    saved = {**combiner.settings(), "rule": "logit-average"}
    again = Combiner.from_arrays(combiner.arrays(), saved)
    scores = np.random.default_rng(0).normal(size=(20, 2, 4)).astype(np.float32)
    np.testing.assert_array_equal(again.scores(scores, []), combiner.scores(scores, []))
    assert again.settings() == combiner.settings()
    assert "logit-average" not in RULES


@pytest.mark.parametrize("rule", sorted(RULES))
def test_temperatures_of_one_give_the_uncalibrated_rule_and_others_that_of_divided_scores(rule):
    scores = np.random.default_rng(1).normal(size=(40, 3, 5)) * 4
    uncalibrated = RULES[rule](filled(log_softmax(scores)))
    np.testing.assert_array_equal(combined(rule, scores), uncalibrated)
    temperatures = np.array([0.5, 2.0, 8.0], np.float32)
    np.testing.assert_allclose(
        combined(rule, scores, temperatures), combined(rule, scores / temperatures[:, None]), rtol=1e-12
    )


@pytest.mark.parametrize("rule", [*sorted(RULES), "stack"])
@settings(max_examples=40)
@given(scores=scored(), seed=st.integers(0, 1000))
def test_the_order_of_classes_and_of_members_does_not_matter(rule, scores, seed):
    rng = np.random.default_rng(seed)
    members, classes = rng.permutation(scores.shape[1]), rng.permutation(scores.shape[2])
    fused = combined(rule, scores)
    np.testing.assert_allclose(combined(rule, scores[:, :, classes]), fused[:, classes], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(combined(rule, scores[:, members]), fused, rtol=1e-9, atol=1e-9)
    assert not np.isnan(fused).any()
    np.testing.assert_allclose(probabilities(fused).sum(axis=1), 1)


@pytest.mark.parametrize("rule", [*sorted(RULES), "stack"])
@settings(max_examples=40)
@given(scores=scored())
def test_one_member_alone_or_several_times_is_that_member(rule, scores):
    alone = scores[:, :1]
    fused = combined(rule, alone)
    np.testing.assert_array_equal(fused.argmax(axis=1), alone[:, 0].argmax(axis=1))
    again = combined(rule, np.repeat(alone, 3, axis=1))
    np.testing.assert_array_equal(again.argmax(axis=1), alone[:, 0].argmax(axis=1))
    if not rule.startswith("vote"):
        np.testing.assert_allclose(probabilities(fused), probabilities(alone[:, 0]), atol=1e-6)
        np.testing.assert_allclose(probabilities(again), probabilities(alone[:, 0]), atol=1e-6)


def test_a_member_has_no_say_in_a_class_it_lacks():
    scores = np.array([[[1.0, -np.inf, 0.0], [0.0, 2.0, 1.0], [0.5, 1.0, -1.0]]])
    logs = log_softmax(scores)
    assert filled(logs)[0, 0, 1] == pytest.approx((logs[0, 1, 1] + logs[0, 2, 1]) / 2)
    np.testing.assert_array_equal(filled(logs)[:, 1:], logs[:, 1:])
    assert combined("stack", scores).argmax() == 1


@pytest.mark.parametrize("rule", [*sorted(RULES), "stack"])
def test_a_class_that_all_members_lack_has_probability_zero(rule):
    scores = np.random.default_rng(2).normal(size=(9, 2, 4)).astype(np.float32)
    scores[:, :, 2] = -np.inf
    proba = probabilities(combined(rule, scores))
    assert not proba[:, 2].any()
    assert proba.dtype == np.float32


def test_weights_by_hand():
    logs = np.log(P)
    np.testing.assert_allclose(np.exp(weighted(logs, np.array([1.0, 0.0, 0.0]))), P[:, 0])
    by_row = np.exp(weighted(np.repeat(logs, 2, axis=0), np.eye(3)[:2]))
    np.testing.assert_allclose(by_row, P[0, :2])
    half = np.exp(weighted(logs, np.array([0.5, 0.5, 0.0])))
    np.testing.assert_allclose(half, np.sqrt([[0.6 * 0.2, 0.3 * 0.7, 0.1 * 0.1]]))


def test_softplus_and_its_inverse():
    weights = np.array([0.0, 1e-6, 0.3, 1.0, 50.0])
    np.testing.assert_allclose(softplus(inverse_softplus(weights)), weights, rtol=1e-5, atol=2e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inputs", ["unit", "layer", "statistics"])
def test_nlc_without_training_is_stacking_bit_for_bit(dtype, inputs):
    rng = np.random.default_rng(3)
    scores, blocks = (rng.normal(size=(257, 3, 7)) * 9).astype(dtype), [rng.normal(size=(257, 5)).astype(dtype)] * 3
    stack = Combiner("stack", np.array([3.0, 0.7, 1.3], np.float32), inverse_softplus(np.array([0.2, 0.0, 0.8])))
    gate = Gate.initial(gate_width(inputs, (0, 5, 10, 15)), 16, 3, rng)
    nlc = Combiner("nlc", stack.temperatures, stack.offsets, gate, inputs)
    assert nlc.scores(scores, blocks).tobytes() == stack.scores(scores, blocks).tobytes()
    assert stack.scores(scores, blocks).dtype == dtype


def test_a_gate_moves_weights_row_by_row():
    gate = Gate(
        np.eye(2, dtype=np.float32),
        np.zeros(2, np.float32),
        np.array([[9, 0], [0, 9]], np.float32),
        np.zeros(2, np.float32),
    )
    blocks = [np.array([[1.0], [-1.0]]), np.array([[-1.0], [1.0]])]
    scores = np.log(np.array([[[0.9, 0.1], [0.2, 0.8]]] * 2))
    nlc = Combiner("nlc", np.ones(2, np.float32), inverse_softplus(np.full(2, 0.5)), gate)
    assert nlc.scores(scores, blocks).argmax(axis=1).tolist() == [0, 1]


def test_gate_inputs_by_hand():
    X = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit_rows(X), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(layer_norm(X), [[-1, 1], [0, 0]])
    both = gate_inputs("unit", [X, 5 * X], np.log(P))
    np.testing.assert_allclose(both, np.hstack([unit_rows(X), unit_rows(X)]))
    found = agreement_statistics(np.log(P))
    entropy = -(P[0] * np.log(P[0])).sum(axis=1)
    np.testing.assert_allclose(found, [[0.6, 0.7, 0.5, 0.3, 0.5, 0.1, *entropy, 2 / 3, 1 / 3, 2 / 3]])
    impossible = np.array([[[0.0, -np.inf], [np.log(0.5), np.log(0.5)]]])
    assert np.isfinite(agreement_statistics(impossible)).all()


def cascade_of(threshold):
    weights = np.array([[1, 0, 0], [0.25, 0.75, 0], [0.2, 0.3, 0.5]], np.float32)
    return Cascade((2, 0, 1), (4.0, 9.0, 1.0), threshold, weights, np.array([1.0, 2.0, 0.5], np.float32))


def test_cascade_from_the_first_encoder_alone_to_all_of_them():
    scores = np.random.default_rng(4).normal(size=(60, 3, 4)) * 3
    logs = log_softmax(scores)
    np.testing.assert_allclose(cascade_of(0.0).scores(logs), logs[:, 2])
    whole = (0.2 * logs[:, 2] + 0.3 * logs[:, 0] + 0.5 * logs[:, 1]) / 0.5
    np.testing.assert_allclose(cascade_of(NEVER).scores(logs), whole, rtol=1e-6)
    between = cascade_of(0.8)
    np.testing.assert_array_equal(between.spent(), [1, 5, 14])
    sure = sureness(logs[:, 2]) >= 0.8
    np.testing.assert_allclose(between.scores(logs)[sure], logs[sure, 2])
    second = (0.25 * logs[:, 2] + 0.75 * logs[:, 0]) / 2
    next_ = ~sure & (sureness(second) >= 0.8)
    assert sure.any()
    assert next_.any()
    np.testing.assert_allclose(between.scores(logs)[next_], second[next_], rtol=1e-6)


def test_stopping_by_hand():
    sure = np.array([[0.9, 0.5, 0.5], [0.5, 0.9, 0.5], [0.5, 0.5, 0.1]])
    assert stopping(sure, 0.8).tolist() == [0, 1, 2]
    assert stopping(sure, 0.0).tolist() == [0, 0, 0]
    assert stopping(sure, NEVER).tolist() == [2, 2, 2]


def test_a_cascade_without_some_members_goes_on_with_the_others():
    less = cascade_of(0.8).only([1, 2])
    assert less.order == (1, 0)
    assert less.costs == (9.0, 1.0)
    np.testing.assert_allclose(less.weights, [[1, 0], [0.2 / 0.7, 0.5 / 0.7]], rtol=1e-6)
    np.testing.assert_array_equal(less.temperatures, [1.0, 0.5])
    weightless = cascade_of(0.8)
    weightless.weights[2] = [1, 0, 0]
    np.testing.assert_array_equal(weightless.only([1]).weights, [[1]])


def test_a_rule_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="known: vote-1"):
        combined("vote-2", P)
    with pytest.raises(ValueError, match="needs steps"):
        combined("cascade", P)
    assert set(RULES) < set(ALL_RULES)
