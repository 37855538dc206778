"""Rows whose label and head disagree: the rule written out row by row, and what it finds among flipped labels."""

import numpy as np

from classifiers.heads.base import probabilities
from classifiers.review.confident import Judged, doubted_classes, doubted_labels, label_quality


def noisy(n=2000, classes=8, flipped=100, seed=0):
    """Probabilities of a head that is mostly right, and labels of which some are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    scores = rng.normal(size=(n, classes)) + 3.5 * np.eye(classes)[truth]
    labels, wrong = truth.copy(), rng.choice(n, flipped, replace=False)
    labels[wrong] = (truth[wrong] + rng.integers(1, classes, flipped)) % classes
    return probabilities(scores.astype(np.float32)), labels, set(wrong.tolist())


def test_the_confident_joint_written_out_row_by_row():
    proba, labels, _ = noisy(300, 4, 40)
    found = doubted_classes(Judged.of(proba, labels), 4)
    thresholds = [np.mean([p[k] for p, label in zip(proba, labels, strict=True) if label == k]) for k in range(4)]
    likely = {}
    for row, (p, label) in enumerate(zip(proba, labels, strict=True)):
        confident = [k for k in range(4) if p[k] >= thresholds[k]]
        if p.argmax() != label:
            likely[row] = bool(confident) and max(confident, key=lambda k: p[k]) != label
    assert dict(zip(found.rows.tolist(), found.likely.tolist(), strict=True)) == likely
    keys = [(not likely[row], proba[row, labels[row]] - proba[row].max()) for row in found.rows.tolist()]
    assert keys == sorted(keys)
    np.testing.assert_allclose(found.margin, [-key for _, key in keys], atol=1e-6)


def test_flipped_labels_come_first_and_unknown_classes_not_at_all():
    proba, labels, wrong = noisy()
    labels[:5] = -1
    found = doubted_classes(Judged.of(proba, labels), 8)
    assert not set(range(5)) & set(found.rows.tolist())
    first = set(found.rows[:50].tolist())
    assert len(first & wrong) >= 45
    likely = set(found.rows[found.likely].tolist())
    assert len(likely & wrong) >= 0.5 * len(wrong)
    assert len(likely & wrong) >= 0.9 * len(likely)


def test_a_class_without_a_row_and_rows_without_a_class_do_no_harm():
    proba = np.full((3, 7), 1 / 7, np.float32)
    assert doubted_classes(Judged.of(proba[:0], np.empty(0, np.int64)), 7).rows.tolist() == []
    assert doubted_classes(Judged.of(proba, np.array([0, 6, -1])), 7).rows.tolist() == [1]


def test_one_label_is_a_class_there_or_not():
    """For a single label, the rule for any number of labels is the rule for two classes."""
    proba, labels, _ = noisy(500, 2, 40)
    one = doubted_classes(Judged.of(proba, labels), 2)
    any_number = doubted_labels(proba[:, 1:], labels[:, None] == 1)
    assert one.rows.tolist() == any_number.rows.tolist()
    assert one.likely.tolist() == any_number.likely.tolist()
    np.testing.assert_allclose(one.margin, any_number.margin, atol=1e-5)


def test_a_single_bad_label_among_many_counts_much():
    good, bad, middling = np.full(9, 0.95), np.r_[np.full(8, 0.99), 0.02], np.full(9, 0.6)
    quality = label_quality(np.stack([good, bad, middling]).astype(np.float32))
    assert quality[1] < quality[2] < quality[0]
    rng = np.random.default_rng(1)
    truth = rng.random((400, 6)) < 0.3
    proba = probabilities((rng.normal(size=truth.shape) + np.where(truth, 3, -3)).astype(np.float32), "sigmoid")
    shown = truth.copy()
    shown[:20, 2] ^= True
    found = doubted_labels(proba, shown)
    assert len(set(found.rows[:20].tolist()) & set(range(20))) >= 18
