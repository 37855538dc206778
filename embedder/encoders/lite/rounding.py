"""Rounding of convolutional networks to bf16 with corrected biases, so that engines in bf16 change the output little.

A rounded weight shifts each output channel by a constant, because inputs are not centred (after a ReLU all are ≥ 0).
This shift is half of the error that bf16 makes in an EfficientNet-Lite, and a bias can undo it: "bias correction",
Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, §4.2. Here the mean inputs
are measured on fixed images.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def fold_norms(network: nn.Module) -> None:
    """Fold each BatchNormAct2d of timm into the convolution before it. Its activation stays in its place."""
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    norms = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    norm: Any
    for convolution, (name, norm) in zip(convolutions, norms, strict=True):
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * scale
        convolution.weight = _constant(convolution.weight * scale.view(-1, 1, 1, 1))
        convolution.bias = _constant(bias)
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, norm.act)


def round_weights(network: nn.Module, pixels: torch.Tensor, keep: Sequence[str]) -> None:
    """Round the weights of all convolutions to bf16 and correct their biases. Call `fold_norms` first.

    Args:
        network: every convolution in it has a bias.
        pixels: (n, 3, size, size), run through the network to measure each convolution's mean input.
        keep: names of convolutions that are not rounded.
    """
    means: dict[nn.Module, torch.Tensor] = {}

    def note(module: nn.Module, inputs: tuple[torch.Tensor], _: torch.Tensor) -> None:
        means[module] = inputs[0].mean((0, 2, 3))

    found = [m for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and name not in keep]
    hooks = [module.register_forward_hook(note) for module in found]
    network(pixels)
    for hook in hooks:
        hook.remove()
    for module in found:
        _round(module, means[module])


def _round(module: nn.Conv2d, mean: torch.Tensor) -> None:
    """Round a convolution's weights and correct its bias for the mean input (in,)."""
    assert module.bias is not None  # noqa: S101
    rounded = module.weight.bfloat16().float()
    lost = (module.weight - rounded).sum((2, 3))  # (out, in / groups): change of the output for a constant input of 1
    inputs = mean.view(module.groups, -1).repeat_interleave(module.out_channels // module.groups, dim=0)
    module.bias = _constant(module.bias + (lost * inputs).sum(1))
    module.weight = _constant(rounded)


def _constant(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)
