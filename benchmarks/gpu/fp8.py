"""Linear layers in fp8 (e4m3): one scale for each row of the input and each row of the weights, found as it runs."""

import torch

MOST = 448.0
"""Largest finite number of e4m3."""
LEAST_SIZE = 512
"""Layers with a smaller side stay as they are: scaling would take longer than it saves."""


class Linear8(torch.nn.Module):
    """y = x Wᵀ + b, with x and W in e4m3 and sums in fp32. Inputs and outputs are bf16."""

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        values, scale = quantised(linear.weight.detach().float())
        self.register_buffer("weight", values)
        self.register_buffer("scale", scale.t().contiguous())
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, scale = quantised(x.reshape(-1, x.shape[-1]))
        y = torch._scaled_mm(
            rows, self.weight.t(), scale_a=scale, scale_b=self.scale, bias=self.bias, out_dtype=torch.bfloat16
        )
        return y.reshape(*x.shape[:-1], -1)


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows (n, d) as e4m3, and the scales (n, 1) float32 by which they must be multiplied."""
    scale = x.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / MOST
    return (x / scale).clamp(-MOST, MOST).to(torch.float8_e4m3fn), scale


def converted(module: torch.nn.Module) -> torch.nn.Module:
    """Replace the large linear layers of a module in place, and return the module.

    Attention of torch.nn.MultiheadAttention reads its weights itself, so its layers stay in bf16.
    """
    for name, child in module.named_children():
        if type(child) is torch.nn.Linear and min(child.weight.shape) >= LEAST_SIZE:
            setattr(module, name, Linear8(child))
        elif not isinstance(child, torch.nn.MultiheadAttention):
            converted(child)
    return module
