"""Answers: labels, probabilities, prediction sets and outlier percentiles of a batch."""

import numpy as np
import pytest
from toys import FINGERPRINT, fitted, record_of

from classifiers.artifact import load, save
from classifiers.errors import BadVectors, UnknownCoverage, WrongFingerprint


def published_of(head, toy, folder, **changes):
    return load(save(folder / "toy", head, record_of(head, toy, **changes)))


@pytest.fixture
def published(head, toy, tmp_path):
    return published_of(head, toy, tmp_path)


def test_answers_agree_with_the_head(published, toy):
    answers = published.answer(toy.X, top_k=3)
    labels, values = published.head.top_k(toy.X, 3)
    assert [answer.label for answer in answers] == published.head.predict(toy.X).tolist()
    assert [[label for label, _ in answer.top_k] for answer in answers] == labels.tolist()
    assert [[value for _, value in answer.top_k] for answer in answers] == values.tolist()
    assert all(answer.probability == answer.top_k[0][1] for answer in answers)
    assert {type(answer.label) for answer in answers} == {str}


def test_a_batch_is_answered_as_its_rows(published, toy):
    batch = published.answer(toy.X[:20])
    for row, answer in zip(toy.X[:20], batch, strict=True):
        (alone,) = published.answer(row[None])
        assert alone.label == answer.label
        assert alone.prediction_set == answer.prediction_set
        assert alone.probability == pytest.approx(answer.probability, abs=1e-5)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.99])
def test_prediction_sets_hold_the_true_class_as_promised(published, toy, coverage):
    answers = published.answer(toy.X, coverage=coverage)
    held = [str(label) in answer.prediction_set for label, answer in zip(toy.labels, answers, strict=True)]
    assert np.mean(held) >= coverage
    for answer in answers:
        order = [label for label, _ in answer.top_k]
        assert answer.prediction_set == tuple(order[: len(answer.prediction_set)])
        assert answer.prediction_set[0] == answer.label
        assert answer.coverage == coverage


def test_a_larger_coverage_gives_no_smaller_set(published, toy):
    narrow, wide = published.answer(toy.X, coverage=0.8), published.answer(toy.X, coverage=0.99)
    assert all(set(a.prediction_set) <= set(b.prediction_set) for a, b in zip(narrow, wide, strict=True))


def test_outliers_stand_out_where_the_head_has_a_density(published, toy):
    usual = [answer.outlier_percentile for answer in published.answer(toy.X)]
    far = published.answer(toy.X[:5] + 50)
    if published.head.log_density(toy.X) is None:
        assert set(usual) == {None}
        return
    assert np.mean(usual) == pytest.approx(50, abs=2)
    unit = published.head.settings().get("transform", {}).get("unit")
    if not unit:  # else it does not matter how far a vector is from the origin
        assert [answer.outlier_percentile for answer in far] == [100.0] * 5


def test_no_vectors_get_no_answers(published):
    assert published.answer(np.zeros((0, 12), np.float32)) == []


def test_without_validation_rows_there_are_labels_only(head, toy, tmp_path):
    bare = published_of(head, toy, tmp_path, conformal={}, outlier=())
    (answer,) = bare.answer(toy.X[:1])
    assert (answer.prediction_set, answer.coverage, answer.outlier_percentile) == (None, None, None)
    assert answer.label == head.predict(toy.X[:1])[0]


def test_what_cannot_be_answered_is_refused(published, toy):
    with pytest.raises(UnknownCoverage, match=r"'0.77'; known: 0.8, 0.9, 0.95, 0.99"):
        published.answer(toy.X, coverage=0.77)
    with pytest.raises(BadVectors, match="12"):
        published.answer(toy.X[:, :4])
    with pytest.raises(ValueError, match="at least 1"):
        published.answer(toy.X, top_k=0)


def test_vectors_of_another_encoder_are_refused(published):
    published.require([FINGERPRINT])
    for others in (["b" * 64], []):
        with pytest.raises(WrongFingerprint, match=r"reads vectors of toy \(aaaa"):
            published.require(others)


def test_ties_are_broken_by_class_order(toy, tmp_path):
    head = fitted("linear", toy).head_
    flat = type(head).from_arrays({name: np.zeros_like(a) for name, a in head.arrays().items()}, head.meta())
    (answer,) = published_of(flat, toy, tmp_path).answer(toy.X[:1])
    assert answer.prediction_set == toy.classes
    assert [label for label, _ in answer.top_k] == list(toy.classes)
