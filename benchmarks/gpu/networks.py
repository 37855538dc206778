"""Image networks of the usual encoders with random weights, made on the device in seconds. Speed needs no training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from embedder.encoder import Graph, Port
from embedder.encoders.imagebind import prepare
from embedder.encoders.imagebind.model import Images, Tower, library
from embedder.encoders.lite import network as lite
from embedder.encoders.lite.configs import CONFIGS
from embedder.encoders.openclip import towers
from embedder.encoders.openclip.output import Output
from embedder.spec import ImagePreprocessing
from embedder.weights.checkpoint import frozen

CLIP = ImagePreprocessing(
    size=224,
    resize=224,
    interpolation="bicubic",
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)


@dataclass(frozen=True)
class Net:
    """An image network.

    Attributes:
        image: its preprocessing; `size` is the side of its input.
        theirs: makes the library's own module on a device: (n, 3, size, size) normalised → vectors.
        ours: makes the module that this project's engine runs, from the same kind of weights.
    """

    name: str
    image: ImagePreprocessing
    theirs: Callable[[torch.device], torch.nn.Module]
    ours: Callable[[torch.device], torch.nn.Module]

    def graph(self, device: torch.device) -> Graph:
        port = Port((self.image.size, self.image.size, 3), "uint8")

        def build() -> torch.nn.Module:
            torch.manual_seed(0)  # every engine gets the same weights
            return self.ours(device)

        return Graph(key=f"random {self.name}", libraries=(), build=build, ports=(port,), normalise=self.image)


def nets(small: bool) -> list[Net]:
    """Return the networks in the order of their worth, or one tiny network for a dry run."""
    clip = {"ViT-L/14": "ViT-L-14", "ViT-H/14": "ViT-H-14", "ViT-B/32": "ViT-B-32"}
    if small:
        clip = {"ViT-B/32": "ViT-B-32"}
    found = [Net(name, CLIP, partial(_clip, model), partial(_our_clip, model)) for name, model in clip.items()]
    found.append(Net("lite0", CONFIGS["lite0"].image, _lite, _lite))
    if not small:
        found.append(Net("ImageBind image", prepare.IMAGE, _imagebind, _imagebind))
    return found


def _clip(model: str, device: torch.device) -> torch.nn.Module:
    import open_clip
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    config: dict[str, Any] = open_clip.get_model_config(model)
    with device:
        visual = _build_vision_tower(config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]))
    return frozen(visual)


def _our_clip(model: str, device: torch.device) -> torch.nn.Module:
    return frozen(towers.image(_clip(model, device), Output(), tokens=False))


def _lite(device: torch.device) -> torch.nn.Module:
    return lite.build(CONFIGS["lite0"], tokens=False).to(device)


def _imagebind(device: torch.device) -> torch.nn.Module:
    """Return the image tower of imagebind_huge. The other towers are made as small as the library allows."""
    others = ("text", "audio", "depth", "thermal", "imu")
    small = {f"{each}_{what}": number for each in others for what, number in (("num_blocks", 0), ("num_heads", 1))}
    small |= {f"{each}_embed_dim": 8 for each in others}
    with device:
        model = library("models.imagebind_model").ImageBindModel(
            vision_embed_dim=1280, vision_num_blocks=32, vision_num_heads=16, out_embed_dim=1024, **small
        )
        return frozen(Images(Tower(model, "vision")))
