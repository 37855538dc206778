"""timm/…@file is compared with timm's own forward pass and transform, on small random networks."""

import re

import numpy as np
import pytest
import timm
import torch
from helpers.towers import timm_tower
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from embedder import probe, registry
from embedder.encoders.timm_tower import _tokens, blueprint
from embedder.errors import UnknownEncoder, Unsupported, WeightsError

SHAPES = {
    "test_resnet": (25, 512),  # a map (n, F, h, w); bilinear
    "test_mambaout": (25, 192),  # a map (n, h, w, F); its head widens after pooling
    "test_vit": (100, 64),  # a class token
    "test_vit3": (100, 96),  # a class token and registers, pooled by average
    "test_efficientnet": (25, 256),
    "test_convnext": (25, 64),  # its head normalises after pooling
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("timm")


def pictures():
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return [*photos, *probe.images()]


def theirs(network, images):
    """Return timm's pooled vectors and features, through its own transform for evaluation."""
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with torch.inference_mode():
        features = network.forward_features(torch.stack([prepare(image) for image in images]))
        return network.forward_head(features, pre_logits=True).numpy(), features


def patches(network, features):
    """Return tokens (n, P, F), place by place and by another route than the encoder's."""
    if features.ndim == 3:
        return features[:, network.num_prefix_tokens :].numpy()
    places = features if getattr(network, "output_fmt", "") == "NHWC" else features.permute(0, 2, 3, 1)
    return np.stack([places[:, i, j] for i in range(places.shape[1]) for j in range(places.shape[2])], axis=1)


@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("backend", ["torch-cpu-fp32", "openvino-fp32", "openvino-bf16"])
def test_equals_timm(folder, cache_dir, model, backend):
    network = timm_tower(folder / f"{model}.safetensors", model)
    encoder = registry.load(f"timm/{model}@{folder / model}.safetensors", backend=backend, cache_dir=cache_dir)
    images = pictures()
    vectors, features = theirs(network, images)
    found = encoder.embed(np.stack([encoder.prepare(image) for image in images]), tokens=True)
    least = 0.9999 if backend.endswith("fp32") else 0.999
    assert found.vectors.shape == vectors.shape == (len(images), encoder.spec.dim)
    assert probe.cosines(found.vectors, vectors).min() > least
    np.testing.assert_allclose(
        np.linalg.norm(found.vectors, axis=1), np.linalg.norm(vectors, axis=1), rtol=2e-2
    )  # raw, not unit
    tokens = patches(network, features)
    assert found.tokens.shape[1:] == encoder.spec.tokens == tokens.shape[1:]
    width = tokens.shape[2]
    assert np.median(probe.cosines(found.tokens.reshape(-1, width), tokens.reshape(-1, width))) > least


def test_bf16_on_torch(folder, cache_dir):
    network = timm_tower(folder / "half.pt")
    encoder = registry.load(f"timm/test_vit@{folder / 'half.pt'}", backend="torch-cpu-bf16", cache_dir=cache_dir)
    vectors, _ = theirs(network, pictures())
    found = encoder.embed(np.stack([encoder.prepare(image) for image in pictures()])).vectors
    assert probe.cosines(found, vectors).min() > 0.999


def test_pixels_are_those_of_timms_transform(folder):
    for model in ("test_resnet", "test_vit"):
        network = timm_tower(folder / f"{model}.pth", model)
        encoder = registry.load(f"timm/{model}@{folder / model}.pth", backend="torch-fp32")
        config = timm.data.resolve_model_data_config(network) | {"mean": (0, 0, 0), "std": (1, 1, 1)}
        prepare = timm.data.create_transform(**config, is_training=False)
        for image in pictures():
            wanted = (prepare(image) * 255).round().permute(1, 2, 0).numpy().astype(int)
            assert np.abs(encoder.prepare(image).astype(int) - wanted).max() <= 2


def test_formats_of_equal_weights_have_one_fingerprint_with_classifier_and_without(folder):
    network = timm_tower(folder / "a.safetensors")
    state = network.state_dict()
    torch.save(state, folder / "b.pth")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, folder / "c.pt")
    without = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    torch.save(without, folder / "d.bin")
    torch.save(state | {"head.weight": torch.zeros(7, 64), "head.bias": torch.zeros(7)}, folder / "e.bin")
    files = ("a.safetensors", "b.pth", "c.pt", "d.bin", "e.bin")
    found = {blueprint(f"test_vit@{folder / file}").spec.fingerprint for file in files}
    assert len(found) == 1
    state["norm.bias"] = state["norm.bias"] + 1e-3
    torch.save(state, folder / "f.pt")
    assert blueprint(f"test_vit@{folder / 'f.pt'}").spec.fingerprint not in found


def test_only_the_classifier_may_be_more_or_missing(folder):
    state = timm_tower(folder / "whole.safetensors").state_dict()
    path = folder / "bad.safetensors"
    for changed, said in (
        ({name: tensor for name, tensor in state.items() if name != "norm.weight"}, "norm.weight"),
        (state | {"extra.weight": torch.zeros(2)}, "extra.weight"),
        (state | {"headless.weight": torch.zeros(2)}, "headless.weight"),
        (state | {"cls_token": torch.zeros(1, 1, 3)}, "cls_token"),
    ):
        save_file(changed, path)
        with pytest.raises(WeightsError, match=f"do not fit(.|\n)*{said}"):
            blueprint(f"test_vit@{path}")
    with pytest.raises(WeightsError, match="do not fit"):
        blueprint(f"test_resnet@{folder / 'whole.safetensors'}")
    with pytest.raises(WeightsError, match="no checkpoint at"):
        blueprint(f"test_vit@{folder / 'absent.pt'}")


def test_a_head_that_is_more_than_a_linear_map_is_dropped_whole(folder):
    """levit's classifier follows a batch norm; num_classes=0 leaves both out."""
    timm_tower(folder / "levit.pt", "levit_128s")
    assert blueprint(f"levit_128s@{folder / 'levit.pt'}").spec.dim == 384


def test_the_spec(folder):
    timm_tower(folder / "spec.pt", "test_resnet")
    spec = blueprint(f"test_resnet@{folder / 'spec.pt'}").spec
    assert (spec.architecture, spec.activation, spec.output) == ("timm:test_resnet", "relu", "pooled")
    assert (spec.image.size, spec.image.resize, spec.image.interpolation) == (160, 168, "bilinear")
    assert (spec.image.mean, spec.image.crop, spec.text) == ((0.5, 0.5, 0.5), "centre", None)


def test_a_tag_chooses_the_configuration(folder):
    timm_tower(folder / "tag.pt", "test_vit")
    plain = blueprint(f"test_vit@{folder / 'tag.pt'}").spec
    assert blueprint(f"test_vit.r160_in1k@{folder / 'tag.pt'}").spec == plain
    for name in ("test_vit.nonesuch", "hf-hub:timm/test_vit", "local-dir:x", "", "resnet50x"):
        with pytest.raises(UnknownEncoder, match=r"timm/.*@FILE"):
            blueprint(f"{name}@{folder / 'tag.pt'}")
        with pytest.raises(UnknownEncoder, match=r"known: timm/[^@]*$"):
            blueprint(name)
    with pytest.raises(UnknownEncoder, match=r"timm/test_vit@FILE, timm/test_vit\.r160_in1k@FILE"):
        blueprint("test_vit@")


@pytest.mark.parametrize(
    ("fields", "said"), [({"crop_mode": "border"}, "'border'"), ({"input_size": (3, 160, 80)}, "160 × 80")]
)
def test_preprocessing_that_cannot_be_represented_is_an_error(folder, monkeypatch, fields, said):
    timm_tower(folder / "crop.pt", "test_resnet")
    config = timm.models.get_pretrained_cfg("test_resnet")
    for name, value in fields.items():
        monkeypatch.setattr(config, name, value)
    monkeypatch.setattr("timm.models._builder.resolve_pretrained_cfg", lambda *_, **__: config)
    with pytest.raises(Unsupported, match=re.escape(said)):
        blueprint(f"test_resnet@{folder / 'crop.pt'}")


def test_squashed_pictures_are_timms(folder, monkeypatch):
    network = timm_tower(folder / "squash.pt", "test_resnet")
    network.pretrained_cfg["crop_mode"] = "squash"
    config = timm.models.get_pretrained_cfg("test_resnet")
    monkeypatch.setattr(config, "crop_mode", "squash")
    monkeypatch.setattr("timm.models._builder.resolve_pretrained_cfg", lambda *_, **__: config)
    encoder = registry.load(f"timm/test_resnet@{folder / 'squash.pt'}", backend="torch-fp32")
    assert encoder.spec.image.crop == "squash"
    vectors, _ = theirs(network, pictures())
    found = encoder.embed(np.stack([encoder.prepare(image) for image in pictures()])).vectors
    assert probe.cosines(found, vectors).min() > 0.9999


def test_networks_whose_patches_are_not_known_give_none():
    """CoaT has a class token among its places but does not say where; other networks return a list."""
    network = torch.nn.Module()
    network.cls_token = torch.nn.Parameter(torch.zeros(1, 1, 8))
    assert _tokens(network, torch.zeros(2, 50, 8)) is None
    assert _tokens(network, [torch.zeros(2, 50, 8)]) is None
    assert _tokens(torch.nn.Module(), torch.zeros(2, 49, 8)).shape == (2, 49, 8)
