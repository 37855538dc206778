"""The experiment on the decoder: where its variants start, and which rows and labels judge it."""

from functools import partial

import numpy as np
import pytest

from benchmarks import decoder
from benchmarks.quality.zero_shot import Images
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.transform import unit_rows

N, P, F, L, K = 60, 4, 12, 9, 20


@pytest.fixture
def pictures(monkeypatch):
    monkeypatch.setattr(decoder, "COMPONENTS", 8)
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=shape).astype(np.float32) for shape in ((N, P, F), (L, F), (K, F), (K, F))]
    bank = LabelBank(vectors[2], np.zeros(K, np.float32), unit_rows(vectors[3]))
    names = tuple(f"label {k}" for k in range(L))
    truth, training = rng.random((N, L)) < 0.4, np.arange(N) < 40
    tokens = vectors[0].astype(np.float16)
    return decoder.Pictures(
        Images("coco18_share", tokens, tokens.mean(axis=1), names, truth, training, vectors[1], bank)
    )


@pytest.mark.parametrize("part", ["cosine", "attention"])
def test_the_first_scores_are_cosines(pictures, part):
    labels, rows = np.arange(pictures.labels), np.arange(N)
    training = decoder.Training(pictures, pictures.reduced(mapped=False), frozenset([part]), labels[:4], rows[:40])
    means = pictures.images.tokens.mean(axis=1, dtype=np.float32)
    cosines = unit_rows(means) @ pictures.text[labels].T
    first = training.scores(training.learned, rows, pictures.text[labels], decoder.keep).numpy()
    np.testing.assert_allclose(first, decoder.FIRST_SCALE * cosines + training.learned["bias"].item(), atol=1e-3)


def test_unseen_labels_and_test_rows_are_read_by_the_test_alone(pictures):
    fit = partial(decoder.trained, frozenset(["distilled", "cosine"]), 1, pictures.reduced(mapped=False))
    found = [measure(pictures, fit, 1) for measure in (decoder.held_out, decoder.tested)]
    pictures.truth[40:] = ~pictures.truth[40:]
    pictures.text[pictures.seen : pictures.labels] *= -1
    again = [measure(pictures, fit, 1) for measure in (decoder.held_out, decoder.tested)]
    assert found[0] == again[0]
    assert found[1] != again[1]
