"""Small CLIP models with random weights from a fixed seed, and open_clip's own vectors of photos."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

VIT = {"image_size": 64, "layers": 3, "width": 64, "patch_size": 16, "head_width": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 16}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


def timm_tower(model: str, pool: str, proj: str | None) -> dict[str, object]:
    return {"timm_model_name": model, "timm_pool": pool, "timm_proj": proj, "image_size": 160}


DECODER = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1, "attn_pooler_heads": 4}
COCA = {"custom_text": True, "multimodal_cfg": DECODER, "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True}}
CONFIGS = {
    name: {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT} | more
    for name, vision, more in (
        ("tiny", VIT, {}),
        ("tiny-quickgelu", VIT, {"quick_gelu": True}),
        ("tinyres", RESNET, {}),
        ("tinyres-quickgelu", RESNET, {"quick_gelu": True}),
        ("wide", VIT | {"width": 128}, {}),
        ("shallow", VIT | {"layers": 1}, {}),
        ("clipa", VIT | {"pool_type": "avg", "final_ln_after_pool": True}, {}),
        ("coca", VIT | {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}, COCA),
        ("map", timm_tower("test_vit3", "map", "none"), {"custom_text": True, "init_logit_bias": -10, "embed_dim": 96}),
        ("eva-like", timm_tower("test_vit", "token", None), {"custom_text": True}),
        ("conv", timm_tower("test_convnext", "", "linear"), {}),
        ("conv-mlp", timm_tower("test_convnext", "", "mlp"), {}),
    )
}
"""One model for every type of tower in open_clip's pretrained models, at a hundredth of its size."""


def register(folder: Path) -> None:
    """Make the architectures known to open_clip, in this process."""
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def make(name: str, seed: int = 0) -> torch.nn.Module:
    """Return a random model whose hidden units lie around −2, as after training: only there the two GELUs differ.

    Its numbers fit into fp16, in which OpenAI published its weights.
    """
    torch.manual_seed(seed)
    model = open_clip.create_model(name, pretrained=None, pretrained_text=False).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "c_fc.bias" in key:
                parameter.uniform_(-3, -1)
            elif "c_fc" in key:
                parameter.mul_(2)
            elif "c_proj.weight" in key:
                parameter.mul_(20)
            elif "bn3.weight" in key:
                parameter.uniform_(0.5, 1)  # open_clip's initial value is 0, with which the blocks would do nothing
            parameter.copy_(parameter.half())
    return model


def photos() -> list[Image.Image]:
    """Return two real photos, 640 × 427, and one of them turned upright."""
    china, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    return [china, flower, china.transpose(Image.Transpose.ROTATE_90)]


def pixels(model: torch.nn.Module, images: Sequence[Image.Image], **preprocessing: object) -> torch.Tensor:
    """Return pixels (n, 3, size, size) by open_clip's own preprocessing."""
    prepare = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg | preprocessing), is_train=False)
    return torch.stack([prepare(image) for image in images])


def encode(model: torch.nn.Module, images: Sequence[Image.Image], **preprocessing: object) -> np.ndarray:
    """Return vectors (n, d) by open_clip's own preprocessing and forward pass."""
    with torch.inference_mode():
        return model.encode_image(pixels(model, images, **preprocessing), normalize=False).numpy()


def save(model: torch.nn.Module, path: Path) -> Path:
    """Save the weights in the format that the file's name asks for."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.stem == "training":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}, "optimizer": {}}, path)
    elif path.stem == "archive":
        _save_archive(state, path)
    else:
        torch.save(state, path)
    return path


def _save_archive(state: dict[str, torch.Tensor], path: Path) -> None:
    """Save a TorchScript archive in fp16 with three numbers among its tensors, like OpenAI's."""
    root = torch.nn.Module()
    numbers = {"input_resolution": torch.tensor(64), "context_length": torch.tensor(12), "vocab_size": torch.tensor(9)}
    for name, tensor in (state | numbers).items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_buffer(leaf, tensor.half() if tensor.is_floating_point() else tensor)
    root.forward = lambda x: x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer is deprecated, but such archives were made with it
        torch.jit.save(torch.jit.trace(root, torch.zeros(1)), path)


def save_folder(model: torch.nn.Module, name: str, folder: Path, *, file: str, **preprocessing: object) -> Path:
    """Save a folder as on a hub: the model's configuration, its preprocessing, its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"model_cfg": CONFIGS[name], "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(record))
    save(model, folder / file)
    return folder


def save_tokeniser(folder: Path) -> None:
    """Save the files of a tokeniser that is not CLIP's."""
    vocabulary = {"[UNK]": 0, "[PAD]": 1, "a": 2, "photo": 3, "of": 4, "solar": 5, "cell": 6, "dog": 7}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
