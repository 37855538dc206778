"""Torch modules around a network: normalising before it, so that bytes travel to the device; adapters after it."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.spec import ImagePreprocessing


class Normalise(torch.nn.Module):
    """(n, size, size, 3) uint8 → (pixels / 255 − mean) / std as (n, 3, size, size) in `dtype`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, image: ImagePreprocessing, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        for name, values in (("mean", image.mean), ("std", image.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))  # fp32: bf16 has no 0.485

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return ((pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std).to(self.dtype)


class FromPixels(torch.nn.Module):
    """(n, size, size, 3) uint8 → the outputs of `module` for the pixels, normalised and converted to `dtype`."""

    def __init__(self, module: torch.nn.Module, image: ImagePreprocessing, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.normalise = Normalise(image, dtype)
        self.module = module

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: tuple[torch.Tensor, ...] = self.module(self.normalise(pixels))
        return outputs


class ThenAdapter(torch.nn.Module):
    """Inputs → (vectors (n, D),): the vectors of `module`, adapted as by `embedder.derived.adapter.Adapter`."""

    def __init__(self, module: torch.nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__()
        self.module = module
        self.arrays = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.tensor(a), requires_grad=False) for name, a in arrays.items()}
        )

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        a = self.arrays
        Z = _unit(_unit(self.module(inputs)[0]) - a["mean"])
        out = Z @ a["weight"].T
        if "hidden_weight" in a:
            out = out + torch.relu(Z @ a["hidden_weight"].T + a["hidden_bias"]) @ a["hidden_out"].T
        return (_unit(out),)


def _unit(X: torch.Tensor) -> torch.Tensor:
    norms = X.norm(dim=1, keepdim=True)
    return X / torch.where(norms > 0, norms, 1)
