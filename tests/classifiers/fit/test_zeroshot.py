"""Zero-shot heads against separately computed cosines and Gaussians; names, prompts and texts."""

from itertools import pairwise

import numpy as np
import pytest
from helpers.toys import DIRECTIONS, WithTexts, embed_texts, text_of, toy_bank, unit

from classifiers.errors import BadVectors, NotTrainable
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.prompts import PROMPTS, class_texts, class_vectors, words

# The arrays


def test_text_alone_is_the_cosine(toy):
    made = WithTexts(centre=False).fit(toy.X, toy.labels)
    cosines = unit(toy.X.astype(np.float64)) @ text_of(toy.classes).T
    np.testing.assert_allclose(made.scores(toy.X.astype(np.float64)), 100 * cosines, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(made.head_.scores(toy.X), 100 * cosines, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(made.head_.predict(toy.X), np.array(toy.classes)[cosines.argmax(axis=1)])


def test_centring_takes_the_mean_direction_from_every_vector(toy):
    made = WithTexts().fit(toy.X[:400], toy.labels[:400])
    mean = unit(toy.X[:400].astype(np.float64)).mean(axis=0)
    expected = 100 * (unit(toy.X.astype(np.float64)) - mean) @ text_of(toy.classes).T
    np.testing.assert_allclose(made.scores(toy.X), expected, rtol=1e-6, atol=1e-5)


def test_no_row_counts_without_a_blend(toy):
    shuffled = np.random.default_rng(0).permutation(toy.labels)
    once, again = (WithTexts().fit(toy.X, labels) for labels in (toy.labels, shuffled))
    np.testing.assert_array_equal(once.head_.scores(toy.X), again.head_.scores(toy.X))


def test_both_ends_of_a_blend_and_all_between_them(toy):
    gaussian = GaussianClassifier(covariance="tied", shrinkage=0.3, norm="unit").fit(toy.X, toy.labels)
    text = WithTexts().fit(toy.X, toy.labels)
    alone = WithTexts(blend="gaussian", shrinkage=0.3).fit(toy.X, toy.labels)
    np.testing.assert_allclose(alone.scores(toy.X), gaussian.scores(toy.X), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(alone.predict(toy.X), gaussian.predict(toy.X))
    np.testing.assert_allclose(alone.head_.scores(toy.X), gaussian.head_.scores(toy.X), rtol=1e-4, atol=1e-3)
    for blend in (1e-4, 0.5, 100.0):
        made = WithTexts(blend=blend, shrinkage=0.3).fit(toy.X, toy.labels)
        expected = text.scores(toy.X) + blend * gaussian.scores(toy.X)
        np.testing.assert_allclose(made.scores(toy.X), expected, rtol=1e-9, atol=1e-6)
        assert np.abs(made.head_.scores(toy.X) - expected).max() < 1e-4 * np.abs(expected).max()


def test_cosines_of_several_encoders_are_averaged(toy):
    scaled = toy.X * np.repeat([1, 1000], [5, 7]).astype(np.float32)  # each encoder's vectors have another norm
    made = WithTexts(centre=False, blocks=(0, 5, 12), prompts=("{}",)).fit(scaled, toy.labels)
    texts = embed_texts(toy.classes).astype(np.float64)
    each = [unit(toy.X[:, part].astype(float)) @ unit(texts[:, part]).T for part in (slice(0, 5), slice(5, 12))]
    np.testing.assert_allclose(made.head_.scores(scaled), 50 * (each[0] + each[1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("blocks", [None, (0, 5, 12)])
def test_other_classes_make_the_head_that_their_texts_would_have_made(toy, blocks):
    edges = (0, 12) if blocks is None else blocks
    names, other = ["new", "class 3", "newer"], np.random.default_rng(0).normal(size=(3, 12))
    text = np.concatenate([unit(other[:, low:high]) for low, high in pairwise(edges)], axis=1)
    made = ZeroShotClassifier(classes=names, blocks=blocks).fit(
        toy.X, toy.labels, text=dict(zip(names, text, strict=True))
    )
    asked = WithTexts(blocks=blocks).fit(toy.X, toy.labels).head_.with_temperature(1.4).with_labels(names, 3 * other)
    assert (asked.classes, asked.temperature) == (tuple(names), 1.4)
    wanted = [made.head_.classes.index(name) for name in names]
    np.testing.assert_allclose(asked.scores(toy.X), made.head_.scores(toy.X)[:, wanted], rtol=1e-4, atol=1e-4)
    for wrong in (["new"], ["new", "new"]):
        with pytest.raises(ValueError, match="at least two"):
            asked.with_labels(wrong, other[: len(wrong)])
    with pytest.raises(BadVectors, match="expected 3 text vectors"):
        asked.with_labels(names, other[:2])
    with pytest.raises(ValueError, match="for blend 1"):
        WithTexts(blend=1.0).fit(toy.X, toy.labels).head_.with_labels(names, other)


def test_a_label_bank_adds_its_classifiers_by_the_similarity_of_texts(toy):
    made, bank, text = WithTexts(bank_weight=0.5).fit(toy.X, toy.labels), toy_bank(12), text_of(toy.classes)
    U = unit(toy.X.astype(np.float64))
    near = np.exp(text @ bank.text.T.astype(np.float64) / 0.07)
    bank_scores = U @ (bank.weights - bank.weights.mean(axis=0)).T @ (near / near.sum(axis=1, keepdims=True)).T
    seen = slice(0, 512, 2)  # 256 rows, evenly spaced
    cosines = U @ text.T
    scaled = bank_scores / bank_scores[seen].std(axis=0) * cosines[seen].std(axis=0).mean()
    expected = cosines - cosines.mean(axis=0) + 0.5 * (scaled - scaled.mean(axis=0))
    np.testing.assert_allclose(made.head_.scores(toy.X), 100 * expected, rtol=1e-3, atol=2e-3)


def test_with_a_label_bank_the_same_texts_make_the_same_head(toy):
    head = WithTexts(bank_weight=0.5).fit(toy.X, toy.labels).head_
    asked = head.with_labels(head.classes[::-1], 7 * text_of(head.classes)[::-1])
    np.testing.assert_allclose(asked.scores(toy.X)[:, ::-1], head.scores(toy.X), rtol=1e-4, atol=1e-3)
    with pytest.raises(NotTrainable, match="needs one encoder with a label bank"):
        ZeroShotClassifier(bank_weight=0.5).fit(toy.X, toy.labels, text=DIRECTIONS)


@pytest.mark.parametrize("blend", [0.0, 0.3, "gaussian"])
def test_permuting_classes_permutes_scores(toy, blend):
    order = np.array([3, 0, 4, 1, 2])
    renamed = np.array([f"class {order[code]}" for code in toy.codes])
    text = {f"class {order[k]}": DIRECTIONS[k] for k in range(5)}
    plain = ZeroShotClassifier(blend).fit(toy.X, toy.labels, text=DIRECTIONS)
    other = ZeroShotClassifier(blend).fit(toy.X, renamed, text=text)
    np.testing.assert_allclose(other.scores(toy.X)[:, order], plain.scores(toy.X), rtol=1e-4, atol=1e-4)


# Names and prompts


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("t-shirt", "t shirt"),
        ("Faces_easy", "faces easy"),
        ("carSide", "car side"),
        ("golden__retriever ", "golden retriever"),
        ("a/c", "a c"),
        ("_", "_"),
        ("Ёж", "ёж"),
    ],
)
def test_labels_become_words(label, said):
    assert words(label) == said
    assert class_texts([label], ["a {}.", "{}"]) == [f"a {said}.", said]


def test_prompts_are_averaged_at_unit_norm_and_brought_back_to_it():
    sides = {"a x.": [3.0, 0.0], "x": [0.0, 0.5], "a y.": [0.0, 2.0], "y": [0.0, 7.0]}
    found = class_vectors(lambda texts: np.array([sides[text] for text in texts]), ["x", "y"], ["a {}.", "{}"], (0, 2))
    np.testing.assert_allclose(found, [[np.sqrt(0.5), np.sqrt(0.5)], [0, 1]])


def test_many_texts_are_asked_in_parts():
    calls = []

    def embed(texts):
        calls.append(len(texts))
        return embed_texts(texts)

    names = [f"thing {i}" for i in range(100)]
    found = class_vectors(embed, names, PROMPTS, (0, 12))
    assert (sum(calls), max(calls)) == (700, 256)
    np.testing.assert_allclose(found, text_of(names), rtol=1e-6)


def test_texts_are_needed_and_must_fit(toy):
    with pytest.raises(NotTrainable, match="pass text to fit"):
        ZeroShotClassifier().fit(toy.X, toy.labels)
    for text, message in (
        (DIRECTIONS[:4], "expected 5 text vectors, got 4"),
        (DIRECTIONS[:, :5], r"shape \(n, 12\)"),
        (DIRECTIONS * [[1], [1], [0], [1], [1]], "text vector 2 is zero"),
        ({"class 0": DIRECTIONS[0]}, r"no text vector for classes \['class 1'"),
        (lambda texts: np.ones((3, 12)), "expected 35 text vectors, got 3"),
    ):
        with pytest.raises(BadVectors, match=message):
            ZeroShotClassifier().fit(toy.X, toy.labels, text=text)
