"""Convolutional networks whose weights are bf16 values, so that bf16 engines change little.

A rounded weight shifts each output channel by a constant, since inputs are not centred (after a ReLU all are ≥ 0).
Half of what bf16 does to an EfficientNet-Lite is this shift, and a bias can take it back: "bias correction", Nagel
et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, §4.2. The mean inputs come from
fixed pictures here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def fold_norms(network: nn.Module) -> None:
    """Put each timm BatchNormAct2d into the convolution that precedes it, and leave its activation in its place."""
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
    """Round the weights of all convolutions but those named in `keep`, after `fold_norms`, and correct the biases.

    Args:
        network: has a bias in every convolution; called with `pixels` to find each convolution's mean input.
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


def _round(module: nn.Module, mean: torch.Tensor) -> None:
    assert isinstance(module, nn.Conv2d)  # noqa: S101  # for the type checker
    assert module.bias is not None  # noqa: S101
    rounded = module.weight.bfloat16().float()
    lost = (module.weight - rounded).sum((2, 3))  # (out, in / groups): what a constant input of 1 would miss
    inputs = mean.view(module.groups, -1).repeat_interleave(module.out_channels // module.groups, dim=0)
    module.bias = _constant(module.bias + (lost * inputs).sum(1))
    module.weight = _constant(rounded)


def _constant(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)
