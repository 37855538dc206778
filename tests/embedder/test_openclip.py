"""openclip/…: against open_clip's own forward pass and preprocessing, on small models made on the spot."""

import json
import re
import socket

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import save_file

from embedder import openclip, probe, registry
from embedder.errors import ProbeMismatch, UnknownEncoder, WeightsError

VIT = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 16}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Architectures that open_clip knows from now on, and a cache."""
    folder = tmp_path_factory.mktemp("openclip")
    for name, vision, quick in (
        ("tiny", VIT, False),
        ("tiny-quickgelu", VIT, True),
        ("tinyres", RESNET, False),
        ("wide", VIT | {"width": 128}, False),
    ):
        config = {"embed_dim": 24, "quick_gelu": quick, "vision_cfg": vision, "text_cfg": TEXT}
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    return folder


def make(name, seed=0):
    """A random model whose hidden units lie around −2, as after training: only there do the two GELUs differ."""
    torch.manual_seed(seed)
    model = open_clip.create_model(name, pretrained=None).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "c_fc.bias" in key:
                parameter.uniform_(-3, -1)
            elif "c_fc" in key:
                parameter.mul_(2)
            elif "c_proj.weight" in key:
                parameter.mul_(20)
    return model


@pytest.fixture(scope="module")
def tiny(folder):
    model = make("tiny-quickgelu")
    save_file(model.state_dict(), folder / "tiny.safetensors")
    return model, folder / "tiny.safetensors"


def load(folder, name, backend="torch-fp32"):
    return registry.load(f"openclip/{name}", backend=backend, cache_dir=folder / "cache")


def cosines(a, b):
    return probe._cosines(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("tiny-quickgelu", "torch-fp32"),
        ("tiny-quickgelu", "openvino-fp32"),
        ("tinyres", "torch-fp32"),
        ("tinyres", "openvino-fp32"),
    ],
)
def test_equals_open_clip(folder, name, backend):
    model = make(name)
    save_file(model.state_dict(), folder / f"{name}.st.safetensors")
    encoder = load(folder, f"{name}@{folder / f'{name}.st.safetensors'}", backend)
    prepare = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    with torch.inference_mode():
        theirs = model.encode_image(torch.stack([prepare(image) for image in probe.images()]))
        texts = model.encode_text(open_clip.get_tokenizer(name)(list(probe.TEXTS)))
    ours = encoder.embed(np.stack([encoder.prepare(image) for image in probe.images()]))
    assert ours.vectors.dtype == np.float32
    assert encoder.backend.startswith(backend.split("-")[0])
    assert cosines(ours.vectors, theirs).min() > 0.9999
    assert cosines(encoder.embed_texts(probe.TEXTS), texts).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(ours.vectors, axis=1), theirs.norm(dim=1), rtol=1e-3)  # raw, not unit


@pytest.mark.parametrize("backend", ["torch-fp32", "openvino-fp32"])
def test_tokens_are_the_last_layer_after_the_final_norm(folder, tiny, backend):
    model, path = tiny
    encoder = load(folder, f"tiny-quickgelu@{path}", backend)
    pixels = np.stack([encoder.prepare(image) for image in probe.images()])
    image = encoder.spec.image
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - torch.tensor(image.mean).view(3, 1, 1)) / torch.tensor(
        image.std
    ).view(3, 1, 1)
    with torch.inference_mode():
        visual = model.visual
        expected = visual.ln_post(visual.transformer(visual._embeds(x)))[:, 1:]
    found = encoder.embed(pixels, tokens=True)
    assert encoder.spec.tokens == (16, 64) == found.tokens.shape[1:]
    assert found.tokens.dtype == np.float16
    np.testing.assert_allclose(found.tokens, expected, atol=2e-2, rtol=2e-2)
    np.testing.assert_allclose(found.vectors, encoder.embed(pixels).vectors, atol=1e-4)


def test_a_tower_without_tokens_says_so(folder):
    model = make("tinyres")
    torch.save(model.state_dict(), folder / "res.pt")
    encoder = load(folder, f"tinyres@{folder / 'res.pt'}")
    assert encoder.spec.tokens is None
    with pytest.raises(ValueError, match="no tokens"):
        encoder.embed(np.zeros((1, 64, 64, 3), np.uint8), tokens=True)


def test_file_formats_of_equal_weights_have_one_fingerprint(folder, tiny):
    model, path = tiny
    state = model.state_dict()
    torch.save(state, folder / "a.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, folder / "b.bin")
    found = {
        openclip.blueprint(f"tiny-quickgelu@{p}").spec.fingerprint for p in (path, folder / "a.pt", folder / "b.bin")
    }
    assert len(found) == 1
    save_file({k: v + 1e-3 if k == "visual.proj" else v for k, v in state.items()}, folder / "c.safetensors")
    assert openclip.blueprint(f"tiny-quickgelu@{folder / 'c.safetensors'}").spec.fingerprint not in found


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
    assert all(open_clip.pretrained.get_pretrained_cfg(model, "openai")["quick_gelu"] for model in models)


def test_a_tag_decides_the_activation(folder, tiny, monkeypatch):
    """A tag of QuickGELU weights under a plain model name, its file already here: open_clip itself only warns."""
    _, path = tiny
    from open_clip import pretrained

    monkeypatch.setitem(
        pretrained._PRETRAINED, "tiny", {"openai": {"file": str(path), "quick_gelu": True, "mean": (0.1, 0.2, 0.3)}}
    )
    spec = openclip.blueprint("tiny/openai").spec
    assert spec.activation == "quickgelu"
    assert spec.image.mean == (0.1, 0.2, 0.3)


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


def test_a_missing_hub_weight_tells_what_to_do(folder, monkeypatch):
    def refuse(*_):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(WeightsError, match=r"hf download .*openclip/ViT-B-32@FILE"):
        openclip.blueprint("ViT-B-32/openai")


def test_preprocessing_that_cannot_be_represented_is_an_error(folder, tiny, monkeypatch):
    from open_clip import pretrained

    _, path = tiny
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"s": {"file": str(path), "resize_mode": "squash"}})
    with pytest.raises(ValueError, match="squash"):
        openclip.blueprint("tiny/s")
