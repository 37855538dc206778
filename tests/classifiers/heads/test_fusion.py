"""The fused head: arrays and folders, missing blocks, members that know different classes."""

import json

import numpy as np
import pytest
from helpers.toys import EDGES, record_of
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from classifiers.errors import BadVectors
from classifiers.evaluation.calibration import fit_temperature
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.heads.base import Head
from classifiers.heads.fusion.combiner import Combiner
from classifiers.heads.fusion.gate import inverse_softplus
from classifiers.heads.fusion.head import FusionHead, Subsets
from classifiers.heads.fusion.members import Blocks
from classifiers.heads.linear import LinearHead
from classifiers.published import artifact
from classifiers.published.manifest import EncoderBlock


def test_the_head_survives_its_arrays_bit_for_bit(fused, hard):
    head = fused.head_.with_temperature(1.7)
    arrays = load_arrays(save_arrays({name: np.ascontiguousarray(each) for name, each in head.arrays().items()}))
    again = FusionHead.from_arrays(arrays, json.loads(json.dumps(head.meta())))
    assert again.scores(hard.X).tobytes() == head.scores(hard.X).tobytes()
    assert again.predict_proba(hard.X).tobytes() == head.predict_proba(hard.X).tobytes()
    assert again.meta() == head.meta()
    if (density := head.log_density(hard.X)) is not None:
        assert again.log_density(hard.X).tobytes() == density.tobytes()
    assert again.only([0, 2]).scores(hard.X[:, :8]).tobytes() == head.only([0, 2]).scores(hard.X[:, :8]).tobytes()


def test_a_folder_on_disk_gives_the_same_head(tmp_path, fused, hard):
    path = artifact.save(tmp_path / "h", fused.head_, record_of(fused.head_, hard))
    again = artifact.load(path)
    assert again.head.scores(hard.X).tobytes() == fused.head_.scores(hard.X).tobytes()
    assert again.answer(hard.X[:2])[0].label == fused.head_.predict(hard.X[:1])[0]


def test_a_fusion_may_hold_a_fusion(hard):
    inner = FusionClassifier(rule="nlc", blocks=(0, 4, 8), folds=3).fit(hard.X[:, :8], hard.labels).head_
    other = GaussianClassifier().fit(hard.X[:, 8:], hard.labels).head_
    ones = np.ones(2, np.float32)
    outer = FusionHead(
        inner.classes, [inner, other], Blocks((0, 8, 12), False, ones), Combiner("log-average", ones, ones)
    )
    again = FusionHead.from_arrays(outer.arrays(), outer.meta())
    assert again.scores(hard.X).tobytes() == outer.scores(hard.X).tobytes()


def test_arrays_of_another_shape_type_or_name_are_refused(fused):
    head, meta = fused.head_, fused.head_.meta()
    for name, array in head.arrays().items():
        rest = {key: value for key, value in head.arrays().items() if key != name}
        for wrong in (rest, {**rest, name: array[:-1]}, {**rest, name: array.astype(np.float16)}):
            with pytest.raises(ValueError, match="array"):
                FusionHead.from_arrays(wrong, meta)
    for more in ("more", "member7.W", "member0.more"):
        with pytest.raises(ValueError, match="array"):
            FusionHead.from_arrays({**head.arrays(), more: np.zeros(1)}, meta)
    with pytest.raises(ValueError, match="array"):
        FusionHead.from_arrays(head.arrays(), {**meta, "classes": meta["classes"][:-1]})
    for changes, message in (
        ({"rule": "vote-9"}, "unknown rule"),
        ({"edges": [0, 12]}, "2 edges"),
        ({"edges": [0, 3, 8, 12]}, "wide"),
        ({"cascade": {"order": [0, 0, 7], "costs": [1, 1, 1], "threshold": 0.5}}, "every member once|array"),
    ):
        with pytest.raises(ValueError, match=message):
            FusionHead.from_arrays(head.arrays(), {**meta, "settings": {**meta["settings"], **changes}})


def test_every_subset_of_blocks_is_answered_and_its_loss_is_known(fused, hard):
    columns = [slice(0, 4), slice(4, 8), slice(8, 12)]
    for available in ([0], [1], [2], [0, 1], [0, 2], [1, 2], [2, 0, 2]):
        X = np.hstack([hard.X[:, columns[b]] for b in sorted(set(available))])
        head = fused.head_.only(available)
        proba = head.predict_proba(X)
        np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
        loss = fused.head_.loss_without(available)
        right = np.mean(head.predict(X) == hard.labels)
        assert np.mean(fused.head_.predict(hard.X) == hard.labels) - right == pytest.approx(loss, abs=0.12)
        with pytest.raises(BadVectors):
            head.scores(hard.X)
    assert fused.head_.only([0, 1, 2]) is fused.head_
    assert fused.head_.loss_without([2, 1, 0]) == 0
    assert fused.head_.loss_without([0]) > 0


def test_one_block_left_is_that_member(fused, hard):
    left, member = fused.head_.only([1]), fused.members_[1]
    np.testing.assert_array_equal(left.predict(hard.X[:, 4:8]), np.array(hard.classes)[member.predict(hard.X[:, 4:8])])


def test_a_calibrated_head_stays_calibrated_when_blocks_miss(fused, hard):
    head = fused.head_.with_temperature(fit_temperature(fused.head_.scores(hard.X), hard.codes))
    left = head.only([0, 1])
    still_wanted = fit_temperature(left.scores(hard.X[:, :8]) / left.temperature, hard.codes)
    assert still_wanted == pytest.approx(1, abs=0.25)  # members have seen these rows


@pytest.mark.parametrize("available", [[], [3], [-1], [0, 9]])
def test_members_that_do_not_exist_are_refused(fused, available):
    for ask in (fused.head_.only, fused.head_.loss_without):
        with pytest.raises(ValueError, match="members 0…2"):
            ask(available)


def test_temperature_of_a_subset_follows_the_callers(hard):
    head = FusionClassifier(blocks=EDGES).fit(hard.X, hard.labels).head_
    cool, hot = head.only([0, 1]), head.with_temperature(3 * head.temperature).only([0, 1])
    assert hot.temperature == pytest.approx(3 * cool.temperature)


def test_density_is_the_sum_of_the_members(hard):
    fused = FusionClassifier(blocks=EDGES).fit(hard.X, hard.labels)
    parts = [
        member.head_.log_density(block)
        for member, block in zip(fused.members_, np.split(hard.X, 3, axis=1), strict=True)
    ]
    np.testing.assert_allclose(fused.head_.log_density(hard.X), np.sum(parts, axis=0), rtol=1e-5)
    linear = FusionClassifier(blocks=EDGES, member="linear", folds=0).fit(hard.X, hard.labels)
    assert linear.head_.log_density(hard.X) is None


class Sigmoid(LinearHead):
    link = "sigmoid"


def linear_head(classes, W, kind: type[Head] = LinearHead):
    W = np.asarray(W, np.float32)
    return kind(classes, W, np.zeros(len(W), np.float32))


def pair(*heads, rule="log-average", classes=("a", "b", "c"), edges=(0, 1, 2)):
    ones = np.ones(2, np.float32)
    blocks = Blocks(edges, False, ones)
    return FusionHead(
        classes, heads, blocks, Combiner(rule, ones, inverse_softplus(ones / 2)), subsets=Subsets.unmeasured()
    )


def test_members_that_know_different_classes_fuse():
    ab, cb = linear_head(["a", "b"], [[9], [0]]), linear_head(["c", "b"], [[9], [0]])
    head = pair(ab, cb)
    assert head.predict([[1, -1], [-1, 1], [-1, -1]]).tolist() == ["a", "c", "b"]
    np.testing.assert_allclose(head.predict_proba([[1, -1]]).sum(), 1, atol=1e-6)
    alone = head.only([0]).predict_proba([[1.0]])
    assert alone[0, 2] == 0
    assert alone[0, 0] > 0.99


def test_heads_that_cannot_be_fused_are_refused():
    two = linear_head(["a", "b"], [[1], [0]])
    with pytest.raises(ValueError, match="sigmoid"):
        pair(two, linear_head(["a", "b"], [[1], [0]], Sigmoid))
    with pytest.raises(ValueError, match="not among"):
        pair(two, linear_head(["a", "z"], [[1], [0]]))
    with pytest.raises(ValueError, match="wide"):
        pair(two, two, edges=(0, 1, 3))
    with pytest.raises(ValueError, match="concatenation"):
        pair(two, two, rule="concatenation")


def test_blocks_are_recorded_as_the_manifest_has_them(hard):
    head = FusionClassifier(blocks=EDGES).fit(hard.X, hard.labels).head_
    encoders = tuple(
        EncoderBlock(name=str(b), fingerprint=str(b) * 64, columns=columns)
        for b, columns in enumerate(zip(head.settings()["edges"], head.settings()["edges"][1:], strict=False))
    )
    record = record_of(head, hard, encoders=encoders)
    assert record.dim == head.dim


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 0.9, 2.0])
def test_the_first_steps_of_a_cascade_return_the_full_cascades_answers_for_rows_that_stop_there(hard, threshold):
    made = FusionClassifier(rule="cascade", blocks=EDGES, costs=[3, 1, 2], threshold=threshold, folds=3)
    whole = made.fit(hard.X, hard.labels).head_.with_temperature(1.3)
    assert whole.steps == (1, 2, 0)
    going = np.ones(len(hard.X), bool)
    for count in (1, 2):
        members = sorted(whole.steps[:count])
        columns = np.concatenate([np.arange(EDGES[member], EDGES[member + 1]) for member in members])
        first, X = whole.first_steps(count), hard.X[:, columns]
        stopped = ~first.unsure(X)
        np.testing.assert_allclose(first.predict_proba(X)[stopped], whole.predict_proba(hard.X)[stopped], atol=1e-6)
        going &= ~stopped
    if threshold in (0.0, 2.0):
        assert going.all() == (threshold == 2.0)
    else:
        assert 0 < going.sum() < len(going)
    with pytest.raises(ValueError, match="no steps"):
        FusionClassifier(blocks=EDGES, folds=0).fit(hard.X, hard.labels).head_.unsure(hard.X)
