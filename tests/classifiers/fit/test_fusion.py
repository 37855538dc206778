"""The fusion estimator: equal to its head, special cases of its rules, few rows, determinism."""

from itertools import pairwise

import numpy as np
import pytest
from helpers.toys import EDGES, make_toy, text_of
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import mean_nll
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.heads.fusion.combiner import ALL_RULES
from classifiers.heads.fusion.head import FusionHead


def test_the_head_says_what_its_estimator_says(fused, hard):
    np.testing.assert_allclose(fused.head_.predict_proba(hard.X), fused.predict_proba(hard.X), atol=1e-4)
    assert np.mean(fused.head_.predict(hard.X) == fused.predict(hard.X)) > 0.995
    assert fused.head_.score(hard.X[:5]).dtype == np.float32
    assert fused.head_.classes == tuple(sorted(hard.classes))


def test_fused_members_beat_each_alone_on_rows_they_have_not_seen(fused, hard):
    fresh = make_toy(spread=0.7, n=3000)
    right = np.mean(fused.head_.predict(fresh.X) == fresh.labels)
    alone = [np.mean(fused.head_.only([b]).predict(fresh.X[:, 4 * b : 4 * b + 4]) == fresh.labels) for b in range(3)]
    assert right > max(alone)


def test_nlc_where_no_gate_helps_is_stacking_bit_for_bit(hard):
    fitted = [
        FusionClassifier(rule=rule, blocks=EDGES, seed=1).fit(hard.X[:18], hard.labels[:18])
        for rule in ("stack", "nlc")
    ]
    assert fitted[1].combiner_.gate is None
    assert fitted[0].head_.scores(hard.X).tobytes() == fitted[1].head_.scores(hard.X).tobytes()


@pytest.mark.parametrize("inputs", ["unit", "layer", "statistics"])
def test_nlc_does_no_worse_than_stacking_on_the_rows_it_is_chosen_on(hard, inputs):
    stack = FusionClassifier(blocks=EDGES).fit(hard.X, hard.labels)
    nlc = FusionClassifier(rule="nlc", inputs=inputs, blocks=EDGES).fit(hard.X, hard.labels)
    np.testing.assert_array_equal(nlc.combiner_.offsets, stack.combiner_.offsets)
    held = nlc.out_of_fold_
    scores = [each.combiner_.scores(held.scores, each.blocks_.of(hard.X)) for each in (stack, nlc)]
    assert mean_nll(scores[1], held.codes, 1.0) <= mean_nll(scores[0], held.codes, 1.0) + 1e-6


def test_a_cascade_at_its_ends_is_the_cheapest_encoder_and_all_of_them(hard):
    asked = {"rule": "cascade", "blocks": EDGES, "costs": (3, 1, 2)}
    first = FusionClassifier(**asked, threshold=0.0).fit(hard.X, hard.labels)
    np.testing.assert_array_equal(
        first.predict(hard.X), np.array(hard.classes)[first.members_[1].predict(hard.X[:, 4:8])]
    )
    last = FusionClassifier(**asked, threshold=1.5).fit(hard.X, hard.labels)
    stack = FusionClassifier(blocks=EDGES).fit(hard.X, hard.labels)
    np.testing.assert_allclose(last.predict_proba(hard.X), stack.predict_proba(hard.X), atol=5e-3)


def test_concatenation_is_one_member_on_all_columns(hard):
    joint = GaussianClassifier(shrinkage=0.3).fit(hard.X, hard.labels)
    asked = {"rule": "concatenation", "blocks": EDGES, "member_params": {"shrinkage": 0.3}}
    fused = FusionClassifier(**asked).fit(hard.X, hard.labels)
    np.testing.assert_allclose(fused.scores(hard.X), joint.scores(hard.X), rtol=1e-9)
    np.testing.assert_allclose(fused.head_.log_density(hard.X), joint.head_.log_density(hard.X), rtol=1e-5)
    unit = FusionClassifier(**asked, normalise=True).fit(hard.X, hard.labels)
    columns = [
        block / np.linalg.norm(block, axis=1, keepdims=True) for block in np.split(hard.X.astype(float), 3, axis=1)
    ]
    columns = [block / np.sqrt(block.var(axis=0).mean()) for block in columns]
    by_hand = GaussianClassifier(shrinkage=0.3).fit(np.hstack(columns), hard.labels)
    np.testing.assert_allclose(unit.scores(hard.X), by_hand.scores(np.hstack(columns)), rtol=1e-4, atol=1e-4)


def test_normalised_blocks_do_not_see_the_length_of_vectors(hard):
    head = FusionClassifier(blocks=EDGES, normalise=True).fit(hard.X, hard.labels).head_
    np.testing.assert_allclose(head.scores(hard.X * 7), head.scores(hard.X), rtol=1e-3, atol=1e-3)


def test_auto_takes_the_rule_with_the_least_nll(hard):
    fused = FusionClassifier(rule="auto", blocks=EDGES).fit(hard.X, hard.labels)
    assert fused.rule_ == min(fused.rule_nll_, key=fused.rule_nll_.get) == fused.head_.settings()["rule"]
    one = FusionClassifier(rule="auto").fit(hard.X, hard.labels)
    np.testing.assert_array_equal(one.predict(hard.X), np.array(hard.classes)[one.members_[0].predict(hard.X)])


def test_one_block_is_its_member_and_needs_no_folds(hard):
    fused = FusionClassifier(member_params={"shrinkage": 0.2}).fit(hard.X, hard.labels)
    alone = GaussianClassifier(shrinkage=0.2).fit(hard.X, hard.labels)
    np.testing.assert_allclose(fused.predict_proba(hard.X), alone.predict_proba(hard.X), atol=1e-7)
    assert fused.head_.loss_without([0]) is None


@pytest.mark.parametrize("rule", sorted(ALL_RULES))
def test_zero_shot_members_learn_from_no_label_and_the_rule_weighs_them(rule, hard):
    text = text_of(hard.classes)
    made = FusionClassifier(rule=rule, member="zeroshot", blocks=EDGES).fit(hard.X, hard.labels, text=text)
    for block, member in zip(pairwise(EDGES), made.head_.members, strict=True):
        alone = ZeroShotClassifier().fit(hard.X[:, slice(*block)], hard.labels, text=text[:, slice(*block)])
        np.testing.assert_array_equal(member.arrays()["text"], alone.head_.arrays()["text"])
        np.testing.assert_array_equal(
            member.scores(hard.X[:, slice(*block)]), alone.head_.scores(hard.X[:, slice(*block)])
        )
    again = FusionHead.from_arrays(made.head_.arrays(), made.head_.meta())
    np.testing.assert_array_equal(again.scores(hard.X), made.head_.scores(hard.X))
    by_name = FusionClassifier(rule=rule, member="zeroshot", blocks=EDGES)
    by_name.fit(hard.X, hard.labels, text=dict(zip(hard.classes, text, strict=True)))
    np.testing.assert_array_equal(by_name.head_.scores(hard.X), made.head_.scores(hard.X))


def test_zero_shot_members_need_texts(hard):
    with pytest.raises(NotTrainable, match="know their classes by their texts"):
        FusionClassifier(member="zeroshot", blocks=EDGES).fit(hard.X, hard.labels)


def test_a_member_may_be_an_estimator(hard):
    made = LinearClassifier(C=0.5)
    given = FusionClassifier(member=made, blocks=EDGES).fit(hard.X, hard.labels)
    named = FusionClassifier(member="linear", member_params={"C": 0.5}, blocks=EDGES).fit(hard.X, hard.labels)
    np.testing.assert_array_equal(given.head_.scores(hard.X), named.head_.scores(hard.X))
    assert not hasattr(made, "coef_")


def test_the_same_seed_gives_the_same_head_and_another_one_other_folds(hard):
    asked = FusionClassifier(rule="nlc", blocks=EDGES, seed=3)
    once, again = (clone(asked).fit(hard.X, hard.labels) for _ in range(2))
    assert all((each == again.head_.arrays()[name]).all() for name, each in once.head_.arrays().items())
    other = clone(asked).set_params(seed=4).fit(hard.X, hard.labels)
    assert (other.combiner_.temperatures != once.combiner_.temperatures).any()


def test_fitting_and_scoring_touch_no_input(fused, hard):
    X, labels = hard.X.copy(), hard.labels.copy()
    X.flags.writeable = labels.flags.writeable = False
    clone(fused).fit(X, labels).head_.predict_proba(X)
    np.testing.assert_array_equal(X, hard.X)


@pytest.mark.parametrize("rule", sorted(ALL_RULES))
def test_two_rows_a_class_and_two_classes_are_enough(rule, hard):
    few = np.concatenate([np.flatnonzero(hard.codes == k)[:2] for k in range(2)])
    fused = FusionClassifier(rule=rule, blocks=EDGES).fit(hard.X[few], hard.labels[few])
    proba = fused.head_.predict_proba(hard.X[hard.codes < 2])
    assert proba.shape[1] == 2
    assert np.isfinite(proba).all()


@pytest.mark.parametrize("rule", sorted(ALL_RULES))
def test_one_row_a_class_is_enough_for_members_that_take_it(rule, hard):
    few = np.array([np.flatnonzero(hard.codes == k)[0] for k in range(5)])
    fused = FusionClassifier(rule=rule, member="linear", blocks=EDGES).fit(hard.X[few], hard.labels[few])
    assert fused.out_of_fold_.rows.size == 0
    np.testing.assert_array_equal(fused.combiner_.temperatures, 1)
    np.testing.assert_allclose(fused.combiner_.weights, 1 / 3, rtol=1e-6)
    assert fused.head_.loss_without([0]) is None
    np.testing.assert_array_equal(fused.predict(hard.X[few]), hard.labels[few])
    assert np.isfinite(fused.head_.only([1]).predict_proba(hard.X[:, 4:8])).all()


def test_a_class_with_a_single_row_does_not_break_the_folds(hard):
    rows = np.concatenate([np.flatnonzero(hard.codes == 0)[:1], np.flatnonzero(hard.codes > 0)])
    fused = FusionClassifier(blocks=EDGES).fit(hard.X[rows], hard.labels[rows])
    assert len(fused.out_of_fold_.rows) == len(rows) - 1
    assert (fused.head_.predict_proba(hard.X)[:, 0] > 0).all()


def test_rows_that_no_member_can_learn_from_are_refused(hard):
    with pytest.raises(NotTrainable, match="one class"):
        FusionClassifier(blocks=EDGES).fit(hard.X, np.zeros(len(hard.X)))
    with pytest.raises(NotTrainable, match="no class has two different rows"):
        FusionClassifier(blocks=EDGES).fit(np.ones((6, 12)), list("aabbcc"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rule": "vote-2"}, "rule must be one of auto, vote-1"),
        ({"member": "forest"}, "one of gaussian, linear"),
        ({"blocks": (0, 4)}, "from 0 to 12"),
        ({"blocks": (0, 8, 4, 12)}, "column edges that rise"),
        ({"blocks": (4, 12)}, "from 0 to 12"),
        ({"blocks": range(13)}, "at most 10 blocks"),
        ({"costs": (1, 2), "blocks": EDGES}, "3 positive numbers"),
        ({"costs": (1, 0, 2), "blocks": EDGES}, "3 positive numbers"),
        ({"folds": 1}, "folds must be 2 or more"),
        ({"inputs": "raw"}, "inputs must be one of unit"),
        ({"member_params": {"nonsense": 1}}, "nonsense"),
    ],
)
def test_parameters_out_of_range_are_refused(hard, params, message):
    with pytest.raises(ValueError, match=message):
        FusionClassifier(**params).fit(hard.X, hard.labels)


def test_parameters_saved_with_a_rules_old_name_learn_the_same_head(hard):
    before, now = (
        FusionClassifier(rule=rule, blocks=EDGES).fit(hard.X, hard.labels).head_
        for rule in ("logit-average", "log-average")
    )
    assert before.settings() == now.settings()
    assert before.scores(hard.X).tobytes() == now.scores(hard.X).tobytes()
