"""openclip/…: vectors of real photos are compared with open_clip's own preprocessing and forward pass."""

from functools import cache

import numpy as np
import open_clip
import pytest
import torch
from helpers import clips
from transformers import RobertaConfig

from embedder import probe
from embedder.encoders import openclip
from embedder.engines import graph_encoder

FORMATS = ("weights.safetensors", "weights.pt", "training.pt", "archive.pt", "folder", "older folder")
KINDS = ("tiny-quickgelu", "tinyres-quickgelu", "clipa", "coca", "map", "eva-like", "conv", "conv-mlp")
LEAST = {"fp32": 0.9999, "bf16": 0.999, "fp16": 0.999}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clips.register(folder)
    return folder


@cache
def blueprint(home, name, form):
    """Return the blueprint of a model that was saved in a format and read back."""
    model, path = clips.make(name), home / f"{name} {form}"
    if form == "folder":
        clips.save_folder(model, name, path, file="open_clip_model.safetensors")
    elif form == "older folder":
        clips.save_folder(model, name, path, file="open_clip_pytorch_model.bin")
    else:
        path.mkdir()
        path = clips.save(model, path / form)
    return openclip.blueprint(f"{name}@{path}", trusted=form == "archive.pt")


@cache
def theirs(name):
    return clips.encode(clips.make(name), clips.photos())


def encoder(home, plan, backend):
    return graph_encoder.assemble("clip", plan, backend, home / "cache")


def embed(encoder, images):
    return encoder.embed(np.stack([encoder.prepare(image) for image in images])).vectors


def cosines(a, b):
    return probe.cosines(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["tiny-quickgelu", "tinyres-quickgelu"])
def test_every_format_gives_open_clips_vectors(home, name, form):
    plan = blueprint(home, name, form)
    assert plan.spec == blueprint(home, name, FORMATS[0]).spec
    for backend in ("torch-fp32", "openvino-fp32"):
        ours = embed(encoder(home, plan, backend), clips.photos())
        assert cosines(ours, theirs(name)).min() > 0.9999


@pytest.mark.parametrize(
    "backend", ["torch-fp32", "openvino-fp32", "torch-cpu-bf16", "torch-cpu-fp16", "openvino-bf16"]
)
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_tower_alone_and_in_a_batch_in_every_precision(home, name, backend):
    here = encoder(home, blueprint(home, name, FORMATS[0]), backend)
    ours = embed(here, clips.photos())
    assert ours.dtype == np.float32
    assert cosines(ours, theirs(name)).min() > LEAST[backend.split("-")[-1]]
    lengths = np.linalg.norm(theirs(name), axis=1)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), lengths, rtol=0.02)  # raw, not of unit norm
    assert cosines(embed(here, clips.photos()[:1]), ours[:1]).min() > 0.9999
    assert cosines(embed(here, clips.photos() * 3), np.tile(ours, (3, 1))).min() > 0.9999  # 9 = a batch of 8 and one


@pytest.mark.parametrize("name", KINDS)
def test_texts_of_every_kind(home, name):
    ours = encoder(home, blueprint(home, name, FORMATS[0]), "openvino-fp32").embed_texts(probe.TEXTS)
    with torch.inference_mode():
        ids = open_clip.get_tokenizer(name)(list(probe.TEXTS))
        texts = clips.make(name).encode_text(ids, normalize=False)
    assert cosines(ours, texts).min() > 0.9999


@pytest.mark.parametrize("backend", ["torch-fp32", "openvino-fp32", "openvino-bf16"])
def test_texts_of_a_tower_of_transformers(home, backend, monkeypatch):
    folder = home / "roberta"
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    RobertaConfig(vocab_size=60, max_position_embeddings=40, **small).save_pretrained(folder)
    clips.save_tokeniser(folder)
    text = {"context_length": 12, "hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
    config = clips.CONFIGS["tiny"] | {"text_cfg": text | {"hf_pooler_type": "mean_pooler"}}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "roberta", config)
    model = clips.make("roberta")
    plan = openclip.blueprint(f"roberta@{clips.save(model, home / 'roberta.pt')}")
    with torch.inference_mode():
        texts = model.encode_text(open_clip.get_tokenizer("roberta")(list(probe.TEXTS)))
    least = LEAST[backend.split("-")[-1]]
    assert cosines(encoder(home, plan, backend).embed_texts(probe.TEXTS), texts).min() > least
