"""Scaling and normalising of pixels as part of a torch module, so that bytes travel and the compiler sees all."""

import torch

from embedder.spec import ImagePreprocessing


class FromPixels(torch.nn.Module):
    """(n, size, size, 3) uint8 → what `module` gives for the pixels in [0, 1], less `mean`, over `std`, as `dtype`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, module: torch.nn.Module, image: ImagePreprocessing, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype
        for name, values in (("mean", image.mean), ("std", image.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))  # fp32: bf16 has no 0.485

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        outputs: tuple[torch.Tensor, ...] = self.module(x.to(self.dtype))
        return outputs
