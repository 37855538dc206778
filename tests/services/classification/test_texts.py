"""Texts are embedded by the encoder that made the stored vectors; any other encoder is refused."""

import numpy as np
import pytest

from embedder.errors import ProbeMismatch
from embedder.spec import EncoderSpec
from services.jobs.texts import text_sides
from store import Store


def test_texts_are_those_of_the_encoder_that_made_the_vectors(home, lite0):
    texts = text_sides(home.store, home.settings)
    found = texts(lite0.spec.fingerprint, ["a hat", "a cracked solar cell"])
    np.testing.assert_allclose(found, lite0.embed_texts(["a hat", "a cracked solar cell"]), rtol=1e-5, atol=1e-6)


def test_an_encoder_that_made_other_vectors_is_refused(home, lite0, tmp_path):
    store = Store.open(tmp_path / "db")
    spec = EncoderSpec(architecture="toy", weights="w", activation="gelu", output="pooled", dim=4, text="t")
    store.ensure_features("lite0", spec, np.eye(2, 4, dtype=np.float32))
    with pytest.raises(ProbeMismatch, match="encoder lite0 has the fingerprint"):
        text_sides(store, home.settings)(spec.fingerprint, ["a"])
    wrong = Store.open(tmp_path / "wrong")
    wrong.ensure_features("lite0", lite0.spec, lite0.reference_probe()[::-1].copy())
    with pytest.raises(ProbeMismatch, match="cosine"):
        text_sides(wrong, home.settings)(lite0.spec.fingerprint, ["a"])
