"""openclip/…: all of open_clip's pretrained pairs as data: the preprocessing and the outputs of each."""

import numpy as np
import open_clip
import pytest
import torch
from helpers import clips
from helpers.paths import ROOT
from open_clip.model import _build_vision_tower
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2

from embedder import probe, registry
from embedder.encoders import openclip
from embedder.encoders.openclip import model as clip
from embedder.encoders.openclip.output import Output
from embedder.errors import Unsupported
from embedder.media.image import fit

OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
NINE = [  # pixels, projected, pooled, tokens: Radford et al. 2021, tables 19 and 20, and the patch sizes
    ("RN50", 224, 1024, 2048, (49, 2048)),
    ("RN101", 224, 512, 2048, (49, 2048)),
    ("RN50x4", 288, 640, 2560, (81, 2560)),
    ("RN50x16", 384, 768, 3072, (144, 3072)),
    ("RN50x64", 448, 1024, 4096, (196, 4096)),
    ("ViT-B-32", 224, 512, 768, (49, 768)),
    ("ViT-B-16", 224, 512, 768, (196, 768)),
    ("ViT-L-14", 224, 768, 1024, (256, 1024)),
    ("ViT-L-14-336", 336, 768, 1024, (576, 1024)),
]


def on_meta(name, tag):
    """Return the model that `embedder.encoders.openclip.model.build` makes for a tag, on torch's meta device."""
    record = get_pretrained_cfg(name, tag)
    with torch.device("meta"):
        return open_clip.create_model(
            name,
            pretrained_text=False,
            device="meta",
            force_preprocess_cfg=record,
            force_quick_gelu=bool(record.get("quick_gelu")),
        ).eval()


def preprocessing(name, tag):
    """Return open_clip's configuration, merged as by `create_model`, without making a model."""
    record = get_pretrained_cfg(name, tag)
    size = record.get("size") or open_clip.get_model_config(name)["vision_cfg"].get("image_size", 224)
    return {key: record[key] for key in ("mean", "std", "interpolation", "resize_mode")} | {"size": size}


@pytest.mark.parametrize(("name", "size", "dim", "pooled", "tokens"), NINE)
def test_the_nine_openai_towers(name, size, dim, pooled, tokens):
    model = on_meta(name, "openai")
    image = openclip._preprocessing(model.visual.preprocess_cfg, name)
    assert (image.size, image.resize, image.interpolation, image.crop) == (size, size, "bicubic", "centre")
    assert (image.mean, image.std) == OPENAI
    assert clip.activation(model.visual) == ("quickgelu" if name.startswith("ViT") else "relu")
    assert clip.activation(model.transformer) == "quickgelu"
    assert model.context_length == 77
    given = tokens if name.startswith("ViT") else None
    assert openclip._shapes(model.visual, Output(), size, name) == (dim, given)
    every = Output(pooled=True, tokens=True, penultimate=name.startswith("ViT"))
    assert openclip._shapes(on_meta(name, "openai").visual, every, size, name) == (pooled, tokens)
    row = f"| `{name}` | {size} | {dim} | {pooled} | {tokens[0]} × {tokens[1]}"
    assert row in (ROOT / "docs" / "encoders.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", [row[0] for row in NINE])
def test_the_nine_at_full_size(name, tmp_path):
    """Compare random weights, saved and read back, with open_clip's own forward pass."""
    torch.manual_seed(0)
    model = open_clip.create_model(name, force_quick_gelu=True).eval()
    path = clips.save(model, tmp_path / "weights.safetensors")
    encoder = registry.load(f"openclip/{name}-quickgelu@{path}:tokens", backend="torch-fp32", cache_dir=tmp_path)
    photo = clips.photos()[:1]
    found = encoder.embed(np.stack([encoder.prepare(image) for image in photo]), tokens=True)
    theirs = clips.encode(model, photo)
    assert probe.cosines(found.vectors, theirs).min() > 0.9999
    assert found.tokens.shape[1:] == encoder.spec.tokens
    path.unlink()


def test_every_pretrained_pair_is_prepared_as_open_clip_prepares_it():
    """Compare each distinct preprocessing pixel by pixel, on real photos."""
    pairs = open_clip.list_pretrained()
    ways = {str(preprocessing(*pair)): preprocessing(*pair) for pair in pairs}
    assert len(pairs) > 150
    for way in ways.values():
        ours, theirs = openclip._preprocessing(way, ""), image_transform_v2(PreprocessCfg(**way), is_train=False)
        for photo in clips.photos()[:2]:  # landscape photos only, see test_image_fit
            pixels = (fit(photo, ours) / 255.0 - ours.mean) / ours.std
            levels = np.abs(pixels - theirs(photo).permute(1, 2, 0).numpy()) * ours.std * 255
            assert levels.max() <= 1.01
            assert np.mean(levels > 0.5) < 0.001


@pytest.mark.parametrize(
    ("change", "told"),
    [({"resize_mode": "longest"}, "'longest' to 64 × 64; shortest and squash"), ({"size": (64, 32)}, "to 64 × 32")],
)
def test_preprocessing_that_cannot_be_represented_is_an_error(change, told):
    way = {"size": 64, "mean": OPENAI[0], "std": OPENAI[1], "interpolation": "bicubic", "resize_mode": "shortest"}
    with pytest.raises(Unsupported, match=f"images for tiny are prepared with .*{told}"):
        openclip._preprocessing(way | change, "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({model for model, _ in open_clip.list_pretrained()}))
def test_every_pretrained_image_tower_gives_vectors_and_tokens(name):
    config = open_clip.get_model_config(name)
    with torch.device("meta"):  # not the whole model: some text towers need a file from a hub
        visual = _build_vision_tower(config["embed_dim"], config["vision_cfg"]).eval()
    size = config["vision_cfg"].get("image_size", 224)
    dim, (places, width) = openclip._shapes(visual, Output(tokens=True), size, name)
    assert dim == config["embed_dim"]
    assert min(places, width) > 1


TIMM = [  # one pretrained pair of each family of timm's towers; None means that it lacks the output
    ("ViT-B-16-SigLIP", "webli", 768, None, (196, 768), True),
    ("ViT-B-16-SigLIP2", "webli", 768, None, (196, 768), True),
    ("EVA02-B-16", "merged2b_s8b_b131k", 512, 768, (196, 768), True),
    ("PE-Core-B-16", "meta", 1024, 768, (196, 768), True),
    ("MobileCLIP-S1", "datacompdr", 512, 1024, (64, 1024), False),
    ("MobileCLIP-B", "datacompdr", 512, 768, (196, 768), True),
    ("ViTamin-S", "datacomp1b", 384, 384, (196, 384), True),
    ("convnext_base", "laion400m_s13b_b51k", 512, 1024, (49, 1024), False),
    ("convnext_large_d", "laion2b_s26b_b102k_augreg", 768, 1536, (64, 1536), False),
]


@pytest.mark.parametrize(("name", "tag", "dim", "pooled", "tokens", "penultimate"), TIMM)
def test_towers_of_timm(name, tag, dim, pooled, tokens, penultimate):
    def shapes(**wanted):
        visual = on_meta(name, tag).visual
        return openclip._shapes(visual, Output(**wanted), visual.image_size[0], name)

    assert shapes() == (dim, None)
    assert shapes(tokens=True) == (dim, tokens)
    if pooled:
        assert shapes(pooled=True) == (pooled, None)
    else:
        with pytest.raises(ValueError, match=f"{name} cannot give this output: it has no projection after pooling"):
            shapes(pooled=True)
    if penultimate:
        assert shapes(penultimate=True) == (dim, tokens)
    else:
        with pytest.raises(ValueError, match="differ in size"):
            shapes(penultimate=True)
