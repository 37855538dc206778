"""Small ImageBind models with random weights, saved for the encoder, and files of the modalities that they embed."""

import importlib
import io
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from PIL import Image

from embedder.encoders.imagebind.model import HEADS, library
from helpers.pictures import photo
from helpers.sounds import sound

SMALL = {"vision": 4, "text": 2, "audio": 3, "depth": 2, "thermal": 2, "imu": 4}
"""Number of attention heads of each tower, with 16 units each."""
DIM = 48


def build(seed: int = 0):
    """Return the authors' model, with different dimensions in each tower."""
    sizes = {"out_embed_dim": DIM}
    for index, tower in enumerate(HEADS):
        sizes |= {f"{tower}_embed_dim": 16 * SMALL[tower], f"{tower}_num_blocks": 2 + index % 2}
        sizes[f"{tower}_num_heads"] = SMALL[tower]
    torch.manual_seed(seed)
    return library("models.imagebind_model").ImageBindModel(**sizes).eval()


def save(model, path: Path, heads: dict[str, int] = SMALL) -> Path:
    torch.save(model.state_dict(), path)
    path.with_name(path.name + ".json").write_text(json.dumps({"heads": heads}))
    return path


def loaders(monkeypatch):
    """Return the authors' ``data`` module. Packages that it imports but does not need here are stubs."""
    folder = Path(library("models").__file__).parents[1]
    resources = {"resource_filename": lambda _, path: str(folder / path)}
    stubs = {
        "pkg_resources": resources,
        "pytorchvideo": {"transforms": None},
        "pytorchvideo.data": {},
        "pytorchvideo.data.clip_sampling": {"ConstantClipsPerVideoSampler": None},
        "pytorchvideo.data.encoded_video": {"EncodedVideo": None},
    }
    for name, content in stubs.items():
        stub = ModuleType(name)
        vars(stub).update(content)
        monkeypatch.setitem(sys.modules, name, stub)
    monkeypatch.delitem(sys.modules, "imagebind.data", raising=False)
    return SimpleNamespace(**vars(importlib.import_module("imagebind.data")))


def depth(seed):
    """Return a ramp in millimetres as a PNG of 16 bits."""
    out = io.BytesIO()
    ramp = np.linspace(500, 4000 + 300 * seed, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(ramp).save(out, "PNG")
    return out.getvalue()


def motion(seed):
    walk = np.random.default_rng(seed).normal(size=(300, 6)).cumsum(axis=0)
    return "\n".join(",".join(f"{value:.4f}" for value in row) for row in walk).encode()


@cache
def recordings():
    """Return files by modality, then by name. The key None is for files whose bytes show their modality."""
    from helpers.videos import animation, film  # needs PyAV, which the models do not

    return {
        "depth": {f"{seed}.png": depth(seed) for seed in range(2)},
        "thermal": {f"{seed}.png": depth(seed + 10) for seed in range(2)},
        "imu": {f"{seed}.csv": motion(seed) for seed in range(2)},
        "video": {"wave.gif": animation("GIF", 25), "cut.gif": photo(9, form="GIF")},
        None: {"voice.wav": sound(1, seconds=3.0), "walk.mp4": film("mp4", 30)},
    }
