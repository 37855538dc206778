"""Small random models of transformers, saved as a hub keeps them: weights, configuration, processor and tokeniser."""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from helpers.towers import MLCD, liven

WORDS = (
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    *"abcdefghijklmnopqrstuvwxyz0123456789",
    "photo",
    "of",
    "dog",
    "solar",
    "cell",
)
TEXT = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "max_position_embeddings": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CLAP_TEXT = {name: TEXT[name] for name in TEXT if "token" not in name} | {"max_position_embeddings": 34}
CLAP_AUDIO = {
    "hidden_size": 64,
    "patch_embeds_hidden_size": 8,
    "projection_dim": 20,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 4, 8],
    "num_mel_bins": 64,
    "spec_size": 256,
    "window_size": 8,
}
FUSED = {"enable_fusion": True, "enable_patch_fusion": True, "fusion_type": "aff_2d"}
NAFLEX = {name: MLCD[name] for name in MLCD if name != "image_size"} | {"patch_size": 8, "num_patches": 16}
NAFLEX_PIXELS = {
    "patch_size": 8,
    "max_num_patches": 21,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.6, 0.7],
}
PE_TEXT = {name: TEXT[name] for name in TEXT if "bos" not in name} | {
    "model_type": "modernbert",
    "max_position_embeddings": 48,
    "local_attention": 6,
    "bos_token_id": 1,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
PE_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 8,
}
PE_AUDIO = PE_TOWER | {
    "dac_config": {
        "model_type": "dac",
        "encoder_hidden_size": 4,
        "downsampling_ratios": [2, 8, 10],
        "codebook_dim": 12,
        "hop_length": 160,
    }
}
PE_VIDEO = PE_TOWER | {"vision_config": {"model_type": "timm_wrapper", "architecture": "test_vit", "num_classes": 24}}
WAVES = {"sampling_rate": 8_000, "hop_length": 160}
VIT = {name: MLCD[name] for name in MLCD if name != "intermediate_size"}
CONVNEXT = {"hidden_sizes": [8, 16, 24, 64], "depths": [1, 1, 2, 1], "image_size": 64}

SQUARE = {"height": 56, "width": 56}
CROP = {"size": {"shortest_edge": 56}, "crop_size": SQUARE}
BIT = {"size": {"shortest_edge": 64}, "crop_size": SQUARE, "image_mean": [0.485, 0.456, 0.406]}


@dataclass(frozen=True)
class Model:
    """A small model.

    Attributes:
        kind: its class in transformers.
        config: fields of its configuration.
        processor: name of its image processor or feature extractor; `settings` are the fields of that.
        has_text: True if it has a text side.
    """

    kind: str
    config: Mapping[str, Any]
    processor: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    has_text: bool = False


def _pair(kind: str, processor: str, settings: Mapping[str, Any], text: Mapping[str, Any] = TEXT, **more: Any) -> Model:
    return Model(f"{kind}Model", {"text_config": text, "vision_config": MLCD, **more}, processor, settings, True)


def _clap(truncation: str, **audio: Any) -> Model:
    config = {"text_config": CLAP_TEXT, "audio_config": CLAP_AUDIO | audio, "projection_dim": 20}
    settings = {"truncation": truncation, "max_length_s": 1, "frequency_min": 50}
    return Model("ClapModel", config, "ClapFeatureExtractor", settings, True)


def _pe_audio(kind: str) -> Model:
    config = {"text_config": PE_TEXT, "audio_config": PE_AUDIO}
    return Model(kind, config, "PeAudioFeatureExtractor", WAVES, True)


MODELS = {
    "clip": _pair("CLIP", "CLIPImageProcessor", CROP, projection_dim=20),
    "metaclip_2": _pair("MetaClip2", "CLIPImageProcessor", {"size": SQUARE, "crop_size": SQUARE}, projection_dim=20),
    "siglip": _pair("Siglip", "SiglipImageProcessor", {"size": SQUARE, "resample": 2}, TEXT | {"projection_size": 64}),
    "siglip_vision_model": Model("SiglipVisionModel", MLCD, "SiglipImageProcessor", {"size": SQUARE}),
    "clip_vision_model": Model("CLIPVisionModel", MLCD, "CLIPImageProcessor", CROP),
    "metaclip_2_vision_model": Model("MetaClip2VisionModel", MLCD, "CLIPImageProcessor", CROP),
    "mlcd_vision_model": Model("MLCDVisionModel", MLCD, "CLIPImageProcessor", CROP),
    "dinov2": Model("Dinov2Model", VIT | {"image_size": 70}, "BitImageProcessor", BIT),
    "dinov2_with_registers": Model("Dinov2WithRegistersModel", VIT, "BitImageProcessor", BIT),
    "dinov3_vit": Model(
        "DINOv3ViTModel", MLCD | {"num_register_tokens": 4}, "DINOv3ViTImageProcessor", {"size": SQUARE}
    ),
    "dinov3_convnext": Model(
        "DINOv3ConvNextModel", CONVNEXT, "DINOv3ViTImageProcessor", {"size": {"height": 64, "width": 64}}
    ),
    "vit": Model("ViTForImageClassification", MLCD | {"num_labels": 7}, "ViTImageProcessor", {"size": SQUARE}),
    "clap": _clap("rand_trunc"),
    "clap, fused": _clap("fusion", **FUSED),
    "siglip2": Model(
        "Siglip2Model",
        {"text_config": TEXT | {"projection_size": 64}, "vision_config": NAFLEX},
        "Siglip2ImageProcessor",
        NAFLEX_PIXELS,
        True,
    ),
    "siglip2_vision_model": Model("Siglip2VisionModel", NAFLEX, "Siglip2ImageProcessor", NAFLEX_PIXELS),
    "pe_audio": _pe_audio("PeAudioModel"),
    "pe_audio, frames": _pe_audio("PeAudioFrameLevelModel"),
    "pe_audio_video": Model(
        "PeAudioVideoModel",
        {"text_config": PE_TEXT, "audio_video_config": PE_TOWER | {"audio_config": PE_AUDIO, "video_config": PE_VIDEO}},
        "PeAudioFeatureExtractor",
        WAVES,
        True,
    ),
}
"""By the ``model_type`` in config.json."""


def save(folder, name, seed=0):
    """Save a random model with its processor, tokeniser and card in `folder`, and return it."""
    wanted = MODELS[name]
    kind = getattr(transformers, wanted.kind)
    torch.manual_seed(seed)
    with _quietly():
        model = kind(kind.config_class(**wanted.config)).eval()
        liven(model)
        model.save_pretrained(folder)
    getattr(transformers, wanted.processor)(**wanted.settings).save_pretrained(folder)
    if wanted.has_text:
        save_tokeniser(folder)
    write_card(folder, "apache-2.0")
    return model


def write_card(folder, licence, more=""):
    (folder / "README.md").write_text(f"---\nlanguage: en\nlicense: {licence}\n---\n# A model\n{more}")


def save_tokeniser(folder, length=16):
    """Save a small tokeniser of whole words and letters."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<s>", 1), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, **special)
    fast.save_pretrained(folder)


@contextmanager
def _quietly():
    """Silence transformers' remarks on a vocabulary that is smaller than its defaults expect."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        transformers.logging.enable_progress_bar()
