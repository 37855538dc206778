"""A network in training: pixels in, embeddings that are compared with centres out."""

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import linear, normalize
from torch.nn.modules.batchnorm import _BatchNorm

from embedder.spec import ImagePreprocessing


class Embedding(torch.nn.Module):
    """The network, then the space of the clustering: e = unit(A unit(unit(x) − mean)) for the network's vector x.

    Args:
        tower: the network, see `embedder.trainable.Trainable`.
        image: how its input is normalised.
        mean: mean of the clustering, (d,).
        axes: the first rows of A, (D, d); None if embeddings are as wide as vectors: then there is no A.
    """

    def __init__(self, tower: torch.nn.Module, image: ImagePreprocessing, mean: Tensor, axes: Tensor | None) -> None:
        super().__init__()
        self.tower = tower
        self.A = None if axes is None else torch.nn.Parameter(axes)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("shift", torch.tensor(image.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("size", torch.tensor(image.std).view(3, 1, 1), persistent=False)

    def vectors(self, pixels: Tensor) -> Tensor:
        """Return the network's vectors (n, d) float32 of pixels (n, size, size, 3) uint8."""
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - cast(Tensor, self.shift)) / cast(Tensor, self.size)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.is_cuda):
            found: Tensor = self.tower(scaled)[0]
        return found.float()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return embeddings of length one, (n, D)."""
        z = normalize(normalize(self.vectors(pixels)) - cast(Tensor, self.mean))
        return z if self.A is None else normalize(linear(z, self.A))

    def train(self, mode: bool = True) -> "Embedding":
        """Set the mode. Batch normalisation keeps its statistics.

        They were learned from many more images, and with them a step does not depend on how many processes share it.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self
