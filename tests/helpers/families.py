"""One small encoder of every family, with random weights where there are no others."""

from pathlib import Path

from helpers import binds, clips, hub_models
from helpers.towers import mlcd, openclip, timm_tower

FAMILIES = {
    "lite0": "lite0",
    "mlcd": "mlcd@{folder}/MLCDVision",
    "timm, a transformer": "timm/test_vit@{folder}/vit.safetensors",
    "timm, a convolutional network": "timm/test_resnet@{folder}/resnet.pt",
    "hf, images and texts": "hf@{folder}/siglip",
    "openclip": "openclip/suite@{folder}/suite.safetensors",
    "openclip, a folder": "openclip@{folder}/hub",
    "imagebind": "imagebind/huge@{folder}/small.pth",
}
"""Names of the encoders, whose weights `write_weights` writes into a folder."""


def write_weights(folder: Path) -> None:
    """Write the weights of `FAMILIES` into a folder."""
    mlcd(folder / "MLCDVision", "MLCDVision")
    timm_tower(folder / "vit.safetensors", "test_vit")
    timm_tower(folder / "resnet.pt", "test_resnet")
    hub_models.save(folder / "siglip", "siglip")
    openclip(folder, "suite")
    clips.register(folder)
    clips.save_folder(clips.make("tiny"), "tiny", folder / "hub", file="open_clip_model.safetensors")
    binds.save(binds.build(), folder / "small.pth")
