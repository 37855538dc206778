"""openclip/…:pooled, :tokens and :penultimate equal those of open_clip's modules, and are part of the identity."""

from functools import cache

import numpy as np
import pytest
import torch
from helpers import clips

from embedder import probe
from embedder.encoders import openclip
from embedder.encoders.openclip import output
from embedder.encoders.openclip.output import Output
from embedder.engines import graph_encoder
from embedder.errors import UnknownEncoder, Unsupported

blueprint = cache(openclip.blueprint)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    clips.register(folder)
    return folder


@pytest.fixture(scope="module")
def saved(home):
    models = {}

    def get(name):
        if name not in models:
            models[name] = clips.make(name)
            clips.save(models[name], home / f"{name}.safetensors")
        return models[name], f"{name}@{home / name}.safetensors"

    return get


def embed(home, name, backend="torch-fp32", *, tokens=False):
    plan = blueprint(name)
    encoder = graph_encoder.assemble("clip", plan, backend, home / "cache")
    found = encoder.embed(np.stack([encoder.prepare(image) for image in clips.photos()]), tokens=tokens)
    assert plan.spec.dim == found.vectors.shape[1]
    if tokens:
        assert plan.spec.tokens == found.tokens.shape[1:]
    return found


def cosines(a, b):
    return probe.cosines(np.asarray(a, np.float32).reshape(len(a), -1), np.asarray(b, np.float32).reshape(len(b), -1))


def projected(model, name, vectors):
    """Return a tower's own last step, by hand, for vectors before it."""
    visual, x = model.visual, torch.from_numpy(vectors)
    steps = {
        "tiny-quickgelu": lambda: x @ visual.proj,
        "clipa": lambda: x @ visual.proj,
        "coca": lambda: x @ visual.proj,
        "tinyres": lambda: visual.attnpool.c_proj(x),
        "eva-like": lambda: visual.trunk.head(x),
        "conv": lambda: visual.head.proj(x),
        "conv-mlp": lambda: visual.head.mlp(x),
    }
    with torch.inference_mode():
        return steps[name]().numpy()


@pytest.mark.parametrize("name", ["tiny-quickgelu", "clipa", "coca", "tinyres", "eva-like", "conv", "conv-mlp"])
def test_pooled_vectors_projected_by_hand_are_the_models_own(home, saved, name):
    model, path = saved(name)
    pooled = embed(home, f"{path}:pooled").vectors
    assert pooled.shape[1] != 24 or name == "coca"
    assert cosines(projected(model, name, pooled), clips.encode(model, clips.photos())).min() > 0.9999
    if name in ("tinyres", "eva-like"):  # those convert another network with the ending than without it
        assert cosines(embed(home, f"{path}:pooled", "openvino-fp32").vectors, pooled).min() > 0.9999


def their_tokens(model, name, layer):
    """Return tokens of one of the two last layers, step by step with the modules of open_clip and of timm."""
    visual, x = model.visual, clips.pixels(model, clips.photos())
    with torch.inference_mode():
        if name in ("tiny-quickgelu", "clipa"):
            x = visual._embeds(x)
            for block in visual.transformer.resblocks[: -1 if layer == "penultimate" else None]:
                x = block(x)
            return (x if name == "clipa" else visual.ln_post(x))[:, 1:]
        if name == "coca":
            return visual(x)[1]
        if name == "tinyres":
            return visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(x))))).flatten(2).mT
        trunk = visual.trunk
        if name == "conv":
            return trunk.norm_pre(trunk.stages(trunk.stem(x))).flatten(2).mT
        if layer == "penultimate":
            trunk.blocks[-1] = torch.nn.Identity()
        return trunk.forward_features(x)[:, trunk.num_prefix_tokens :]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("tiny-quickgelu", "tokens"),
        ("tiny-quickgelu", "penultimate"),
        ("clipa", "tokens"),
        ("clipa", "penultimate"),
        ("coca", "tokens"),
        ("tinyres", "tokens"),
        ("conv", "tokens"),
        ("eva-like", "tokens"),
        ("eva-like", "penultimate"),
        ("map", "tokens"),
        ("map", "penultimate"),
    ],
)
def test_tokens_are_those_of_the_layer(home, saved, name, layer):
    model, path = saved(name)
    expected = their_tokens(clips.make(name), name, layer)
    found = {
        backend: embed(home, f"{path}:{layer}", backend, tokens=True) for backend in ("torch-fp32", "openvino-fp32")
    }
    for each in found.values():
        assert cosines(each.tokens, expected).min() > 0.9999
        np.testing.assert_allclose(each.tokens.astype(np.float32), expected, rtol=0.01, atol=0.01)
        assert cosines(each.vectors, clips.encode(model, clips.photos())).min() > 0.9999


@pytest.mark.parametrize("backend", ["torch-cpu-bf16", "torch-cpu-fp16", "openvino-bf16"])
@pytest.mark.parametrize("name", ["tiny-quickgelu", "tinyres", "map"])
def test_pooled_vectors_and_tokens_in_low_precision(home, saved, name, backend):
    _, path = saved(name)
    words = ":tokens" if name != "tiny-quickgelu" else ":pooled:penultimate"
    exact, rough = (embed(home, path + words, each, tokens=True) for each in ("torch-fp32", backend))
    assert cosines(rough.vectors, exact.vectors).min() > 0.999
    assert cosines(rough.tokens, exact.tokens).min() > 0.999


def test_outputs_are_part_of_identity(saved):
    specs = {}
    for name in ("tiny", "tinyres"):
        _, path = saved(name)
        for words in ("", ":pooled", ":tokens", ":pooled:tokens"):
            specs[name + words] = blueprint(path + words).spec
    _, path = saved("tiny")
    for words in (":penultimate", ":pooled:penultimate"):
        specs["tiny" + words] = blueprint(path + words).spec
    assert specs["tiny"] == specs["tiny:tokens"]  # a transformer's tokens need not be asked for
    assert specs["tiny:pooled"] == specs["tiny:pooled:tokens"]
    assert len({spec.fingerprint for spec in specs.values()}) == len(specs) - 2
    assert openclip.blueprint(f"{path}:penultimate:pooled").spec == specs["tiny:pooled:penultimate"]
    assert all((spec.text is None) == ("pooled" in name) for name, spec in specs.items())
    # Vectors stored before outputs had names must be found again.
    assert (specs["tiny"].output, specs["tinyres"].output, specs["tinyres"].tokens) == ("projected", "projected", None)


def test_pooled_vectors_have_no_texts(home, saved):
    _, path = saved("tiny")
    encoder = graph_encoder.assemble("clip", openclip.blueprint(f"{path}:pooled"), "torch-fp32", home / "cache")
    with pytest.raises(ValueError, match="takes no text"):
        encoder.embed_texts(["a cat"])
    assert probe.check(encoder, encoder.reference_probe()) > 0.9999


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("tinyres", ":penultimate", "':tokens' gives"),
        ("conv", ":penultimate", "':tokens' gives the last"),
        ("coca", ":penultimate", "attention pooler"),
        ("shallow", ":penultimate", "it has one layer"),
        ("map", ":pooled", "it has no projection after pooling"),
    ],
)
def test_what_a_tower_does_not_have_is_an_error(saved, name, words, told):
    _, path = saved(name)
    with pytest.raises(Unsupported, match=f"open_clip:{name} cannot give this output.*{told}"):
        openclip.blueprint(path + words)


@pytest.mark.parametrize(
    ("name", "rest", "wanted"),
    [
        ("ViT-B-32/openai", "ViT-B-32/openai", Output()),
        ("ViT-B-32/openai:pooled", "ViT-B-32/openai", Output(pooled=True)),
        ("RN50@/a/b.pt:tokens", "RN50@/a/b.pt", Output(tokens=True)),
        ("m@/a b/c:d.pt:penultimate:pooled", "m@/a b/c:d.pt", Output(pooled=True, penultimate=True)),
        ("@/a/b:pooled/", "@/a/b:pooled/", Output()),  # a folder of that name
        ("@C:\\clip\\folder", "@C:\\clip\\folder", Output()),
        ("m/tag:pooling", "m/tag:pooling", Output()),
        ("pooled", "pooled", Output()),
    ],
)
def test_words_at_the_end_of_a_name(name, rest, wanted):
    assert output.split(name) == (rest, wanted)


@pytest.mark.parametrize("words", [":pooled:pooled", ":tokens:penultimate"])
def test_words_that_contradict_each_other_are_no_name(words):
    with pytest.raises(UnknownEncoder, match=r"m/t\[:pooled\]\[:tokens or :penultimate\]"):
        output.split(f"m/t{words}")
