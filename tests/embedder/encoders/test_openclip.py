"""openclip/…: the identity of an encoder, and refusals."""

import re

import numpy as np
import open_clip
import pytest
import torch
from helpers import clips
from open_clip import pretrained
from safetensors.torch import save_file

from embedder import probe, registry
from embedder.encoders import openclip
from embedder.errors import ProbeMismatch, UnknownEncoder, WeightsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Register small architectures with open_clip and return a folder."""
    folder = tmp_path_factory.mktemp("openclip")
    clips.register(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(folder):
    model = clips.make("tiny-quickgelu")
    return model, clips.save(model, folder / "tiny.safetensors")


def load(folder, name, backend="torch-fp32"):
    return registry.load(f"openclip/{name}", backend=backend, cache_dir=folder / "cache")


def test_a_tower_without_tokens_says_so(folder):
    encoder = load(folder, f"tinyres@{clips.save(clips.make('tinyres'), folder / 'res.pt')}")
    assert encoder.spec.tokens is None
    with pytest.raises(ValueError, match="no tokens"):
        encoder.embed(np.zeros((1, 64, 64, 3), np.uint8), tokens=True)


def test_other_weights_have_another_fingerprint(folder, tiny):
    model, path = tiny
    state = model.state_dict()
    save_file({k: v + 1e-3 if k == "visual.proj" else v for k, v in state.items()}, folder / "c.safetensors")
    changed = openclip.blueprint(f"tiny-quickgelu@{folder / 'c.safetensors'}").spec
    assert changed.fingerprint != openclip.blueprint(f"tiny-quickgelu@{path}").spec.fingerprint


def test_the_activation_is_in_the_spec_and_the_probe_catches_the_wrong_one(folder, tiny):
    _, path = tiny
    right, wrong = load(folder, f"tiny-quickgelu@{path}"), load(folder, f"tiny@{path}")
    assert (right.spec.activation, wrong.spec.activation) == ("quickgelu", "gelu")
    assert right.spec.architecture == wrong.spec.architecture
    assert right.spec.fingerprint != wrong.spec.fingerprint
    with pytest.raises(ProbeMismatch, match="cosine"):
        probe.check(wrong, right.reference_probe())


def test_all_nine_openai_towers_are_tagged_quickgelu():
    models = {model for model, tag in open_clip.list_pretrained() if tag == "openai"}
    assert len({model.removesuffix("-quickgelu") for model in models}) == 9
    assert all(pretrained.get_pretrained_cfg(model, "openai")["quick_gelu"] for model in models)


def test_a_tag_decides_the_activation(folder, tiny, monkeypatch):
    """A tag has QuickGELU weights under a plain model name, and its file is present: open_clip itself only warns."""
    _, path = tiny
    record = {"file": str(path), "quick_gelu": True, "mean": (0.1, 0.2, 0.3)}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"openai": record})
    spec = openclip.blueprint("tiny/openai").spec
    assert spec.activation == "quickgelu"
    assert spec.image.mean == (0.1, 0.2, 0.3)


def test_checkpoints_of_other_ages_fit(folder):
    """Scalars as vectors of one, text tensors at the top and positions as a constant do not change the identity."""
    model = clips.make("map")
    expected = openclip.blueprint(f"map@{clips.save(model, folder / 'map.pt')}").spec
    state = model.state_dict()
    older = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    older["text.transformer.embeddings.position_ids"] = torch.arange(12)
    older["logit_scale"], older["logit_bias"] = state["logit_scale"].reshape(1), state["logit_bias"].reshape(1)
    torch.save(older, folder / "older.pt")
    assert openclip.blueprint(f"map@{folder / 'older.pt'}").spec == expected


def test_bad_weights_are_refused(folder, tiny):
    model, path = tiny
    bad = folder / "bad.safetensors"
    with pytest.raises(WeightsError, match="no checkpoint at"):
        openclip.blueprint(f"tiny@{folder / 'absent.safetensors'}")
    bad.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged"):
        openclip.blueprint(f"tiny@{bad}")
    with pytest.raises(WeightsError, match="do not fit"):
        openclip.blueprint(f"wide@{path}")
    state = model.state_dict()
    del state["visual.proj"]
    save_file(state, bad)
    with pytest.raises(WeightsError, match=re.escape("visual.proj")):
        openclip.blueprint(f"tiny@{bad}")
    (folder / "bad.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="damaged"):
        openclip.blueprint(f"tiny@{folder / 'bad.pt'}")
    torch.save([1, 2], folder / "list.pt")
    with pytest.raises(WeightsError, match="not a state dict"):
        openclip.blueprint(f"tiny@{folder / 'list.pt'}")


def test_unknown_names(folder):
    with pytest.raises(UnknownEncoder, match="openclip/ViT-B-32"):
        openclip.blueprint("ViT-Z-99/openai")
    with pytest.raises(UnknownEncoder, match="openclip/ViT-B-32/laion2b_s34b_b79k"):
        openclip.blueprint("ViT-B-32/nonesuch")
    with pytest.raises(UnknownEncoder, match=r"openclip/ViT-B-32/openai, .*optionally with \[:pooled\]"):
        openclip.blueprint("ViT-B-32/openai:pool")
