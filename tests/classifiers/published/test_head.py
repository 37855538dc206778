"""Answers: labels, probabilities, prediction sets and outlier percentiles of a batch."""

import numpy as np
import pytest
from helpers.toys import FINGERPRINT, record_of

from classifiers.errors import (
    BadVectors,
    NoOutlierScore,
    NoTexts,
    UnknownCoverage,
    UnknownSets,
    WrongFingerprint,
    listing,
)
from classifiers.published.artifact import load, save
from classifiers.published.inputs import Input
from classifiers.published.manifest import Conformal


def published_of(head, toy, outliers, folder, **changes):
    quantiles, files = outliers
    return load(save(folder / "toy", head, record_of(head, toy, outlier=quantiles, **changes), files))


@pytest.fixture(scope="module")
def published(head, toy, outliers, tmp_path_factory):
    """Return the published head. Tests only ask it."""
    return published_of(head, toy, outliers, tmp_path_factory.mktemp("published"))


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


@pytest.mark.parametrize("coverage", [0.123, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("sets", ["lac", "aps"])
def test_prediction_sets_hold_the_true_class_as_promised(published, toy, coverage, sets):
    answers = published.answer(toy.X, coverage=coverage, sets=sets)
    held = [str(label) in answer.prediction_set for label, answer in zip(toy.labels, answers, strict=True)]
    assert np.mean(held) >= coverage
    for answer in answers:
        order = [label for label, _ in answer.top_k]
        assert answer.prediction_set == tuple(order[: len(answer.prediction_set)])
        assert answer.prediction_set[0] == answer.label
        assert answer.coverage == coverage


@pytest.mark.parametrize("sets", ["lac", "aps"])
def test_a_larger_coverage_gives_no_smaller_set(published, toy, sets):
    narrow, wide = (published.answer(toy.X, coverage=coverage, sets=sets) for coverage in (0.97, 0.995))
    assert all(set(a.prediction_set) <= set(b.prediction_set) for a, b in zip(narrow, wide, strict=True))
    assert narrow != wide


@pytest.mark.parametrize("sets", ["lac", "aps"])
def test_a_coverage_beyond_the_rows_gives_every_class(head, toy, outliers, tmp_path, sets):
    conformal = Conformal(rows=3, lac=(0.1, 0.2, 0.3), aps=(0.0, 0.0, 0.1))
    few = published_of(head, toy, outliers, tmp_path, conformal=conformal)
    assert {len(answer.prediction_set) for answer in few.answer(toy.X, coverage=0.76, sets=sets)} == {5}
    assert min(len(answer.prediction_set) for answer in few.answer(toy.X, coverage=0.75, sets=sets)) < 5


def test_outliers_stand_out_whatever_the_kind_of_head(published, toy):
    usual = [answer.outlier_percentile for answer in published.answer(toy.X)]
    assert np.mean(usual) == pytest.approx(50, abs=2)
    assert np.median([answer.outlier_percentile for answer in published.answer(-toy.X)]) > 95


def test_a_head_abstains_by_the_limits_that_are_asked(published, toy):
    X = np.vstack([toy.X[:100], -toy.X[:100]])
    plain = published.answer(X)
    assert {answer.abstained for answer in plain} == {()}
    asked = published.answer(X, min_probability=0.99, max_outlier=99)
    for before, after in zip(plain, asked, strict=True):
        expected = ["low_probability"] * (before.probability < 0.99) + ["outlier"] * (before.outlier_percentile > 99)
        assert list(after.abstained) == expected
        assert (after.label, after.top_k) == (before.label, before.top_k)
    assert len({answer.abstained for answer in asked}) >= 3
    assert published.answer(X, min_probability=0.0, max_outlier=100.0) == plain


def test_no_vectors_get_no_answers(published):
    assert published.answer(np.zeros((0, 12), np.float32)) == []


def test_without_validation_rows_there_are_labels_only(head, toy, tmp_path):
    bare = load(save(tmp_path / "toy", head, record_of(head, toy, conformal={})))
    (answer,) = bare.answer(toy.X[:1], coverage=0.77, sets="aps", min_probability=0.0)
    assert (answer.prediction_set, answer.coverage, answer.outlier_percentile) == (None, None, None)
    assert answer.label == head.predict(toy.X[:1])[0]
    with pytest.raises(NoOutlierScore, match="'toy' has no outlier percentiles"):
        bare.answer(toy.X[:1], max_outlier=99)


def test_what_cannot_be_answered_is_refused(published, toy):
    for coverage in (0, 1, -0.1, 1.5):
        with pytest.raises(UnknownCoverage, match="any between 0 and 1"):
            published.answer(toy.X, coverage=coverage)
    with pytest.raises(UnknownSets, match="'raps'; known: lac, aps"):
        published.answer(toy.X, sets="raps")
    with pytest.raises(BadVectors, match="12"):
        published.answer(toy.X[:, :4])
    with pytest.raises(ValueError, match="at least 1"):
        published.answer(toy.X, top_k=0)


def test_vectors_of_another_encoder_are_refused(published):
    tokens = published.head.reads_tokens
    reads, not_read = Input(FINGERPRINT, tokens), Input(FINGERPRINT, not tokens)
    published.require([reads])
    for others in ([Input("b" * 64)], [not_read], []):
        with pytest.raises(WrongFingerprint, match=r"reads vectors of toy \(aaaa"):
            published.require(others)


def test_ties_are_broken_by_class_order(toy, learned, outliers, tmp_path):
    head = learned("linear").head_
    flat = type(head).from_arrays({name: np.zeros_like(a) for name, a in head.arrays().items()}, head.meta())
    (answer,) = published_of(flat, toy, outliers, tmp_path).answer(toy.X[:1])
    assert answer.prediction_set == toy.classes
    assert [label for label, _ in answer.top_k] == list(toy.classes)


def test_a_message_lists_no_more_names_than_fit():
    assert listing([]) == listing([], most=2) == "none yet"
    assert listing("ab", most=2) == "a, b"
    assert listing("abcde", most=2) == "a, b and 3 more"
    assert "c18, c19 and 80 more;" in str(NoTexts("big", "linear", [f"c{i}" for i in range(100)]))
