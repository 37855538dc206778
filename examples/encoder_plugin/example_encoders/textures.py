"""The encoder `textures`: how strongly an image responds to a bank of Gabor filters. It is a torch module.

From this module, Headwater makes an OpenVINO model, bf16 and CUDA engines, batches, patch tokens, and the reference
vectors of the probe.
"""

import math
from pathlib import Path

import torch
from headwater.embedder.encoder import Encoder, image_blueprint
from headwater.embedder.engines.graph_encoder import assemble
from headwater.embedder.spec import EncoderSpec, ImagePreprocessing
from headwater.embedder.weights.checkpoint import digest, frozen

SIZE, STRIDE, WINDOW = 128, 8, 21
IMAGE = ImagePreprocessing(
    size=SIZE, resize=SIZE, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)


class Textures(torch.nn.Module):
    """A network from normalised pixels (n, 3, SIZE, SIZE) to vectors (n, F) and, on request, tokens (n, P, F)."""

    bank: torch.Tensor

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens = tokens
        self.register_buffer("bank", gabor())

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        grey = pixels.mean(1, keepdim=True)
        waves = torch.nn.functional.conv2d(grey, self.bank, padding=WINDOW // 2)
        energy = torch.nn.functional.avg_pool2d(waves.abs(), STRIDE)
        vectors = energy.mean((2, 3))
        return (vectors, energy.flatten(2).transpose(1, 2)) if self.tokens else (vectors,)


def gabor() -> torch.Tensor:
    """Return filters (F, 1, WINDOW, WINDOW): plane waves of four lengths (pixels) and eight directions under a bell."""
    x = torch.arange(WINDOW) - WINDOW // 2
    y, x = torch.meshgrid(x, x, indexing="ij")
    filters = []
    for length in (3, 5, 8, 12):
        bell = torch.exp(-(x**2 + y**2) / (2 * (0.5 * length) ** 2))
        for angle in torch.arange(8) * math.pi / 8:
            wave = torch.cos(2 * math.pi * (x * torch.cos(angle) + y * torch.sin(angle)) / length) * bell
            wave -= bell * wave.sum() / bell.sum()  # a flat patch gives 0
            filters.append(wave / wave.abs().sum())
    return torch.stack(filters)[:, None]


def load(name: str, *, backend: str, cache_dir: Path, threads: int | None) -> Encoder:
    """Return the encoder. The entry point names this function."""
    bank = gabor()
    spec = EncoderSpec(
        architecture="example:textures",
        weights=digest({"bank": bank}),  # for learned weights, use the state dict
        activation="abs",
        output="pooled",
        dim=len(bank),
        tokens=((SIZE // STRIDE) ** 2, len(bank)),
        image=IMAGE,
    )

    plan = image_blueprint(spec, libraries=(), build=lambda tokens: frozen(Textures(tokens)))
    return assemble(name, plan, backend, cache_dir, threads)
