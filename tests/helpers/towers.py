"""Small random towers, saved as their libraries save them."""

import json

import open_clip
import timm
import torch
import transformers
from safetensors.torch import save_file

MLCD = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}
"""Dimensions for both classes of the released towers: CLIPVisionModel (small ones) and MLCDVisionModel (bigG)."""


def mlcd(folder, kind="MLCDVision", seed=0, **fields):
    """Save a random tower with transformers, with the preprocessor configuration of a released one, and return it."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**MLCD | fields)
    model = transformers.AutoModel.from_config(config).eval()
    liven(model)
    model.save_pretrained(folder)
    size = config.image_size
    crop = {"height": size, "width": size}
    transformers.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=crop).save_pretrained(folder)
    return model


def rewrite(path, **fields):
    """Change some fields of a JSON file. None removes a field."""
    changed = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))


def timm_tower(path, model="test_vit", seed=0):
    """Save the tensors of a random timm network, classifier included, at `path`, and return the network."""
    torch.manual_seed(seed)
    network = timm.create_model(model, pretrained=False).eval()
    liven(network)
    state = network.state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return network


def openclip(folder, name):
    """Register a small architecture with open_clip, and save a random model of it as <name>.safetensors."""
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 16}
    text = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None).eval()
    liven(model)
    save_file(model.state_dict(), folder / f"{name}.safetensors")


def liven(network):
    """Make every tensor random. Fresh ones are often 0 or 1, which would hide a misplaced bias or norm."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim < 2:
                tensor.add_(torch.randn_like(tensor) * 0.1)
