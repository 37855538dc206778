"""Products in eight bits (e4m3) inside the blocks of a transformer, where its vectors allow it.

e4m3 has 3 bits of mantissa: each number loses 2 to 3 %, wherever it lies between the smallest and the largest. One
fixed scale for each tensor is therefore as accurate as a scale for each row, and much faster, because nothing must be
measured while the network runs (Micikevicius et al. 2022, "FP8 formats for deep learning"). Scales are powers of two,
so that scaling loses nothing, and so that the last bits of the calibration do not change them.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeGuard

import torch

from embedder.engines.blocks import repeated

MOST = 448.0
"""Largest finite number of e4m3."""
LEAST_SIDE = 512
"""Layers with a smaller side stay in 16 bits: converting their inputs would take longer than it saves."""
MARGIN = 2.0
"""Inputs up to this many times the largest of the calibration are represented; larger ones become the largest."""
MOST_LOSS = 8e-4
"""Most that quantising may take from the cosine of a vector. The probe allows 1e-3, and 16 bits take some of it."""

_MULTIPLE = 16  # sides that the product of cuBLAS takes


class Linear8(torch.nn.Module):
    """y = x Wᵀ + b for 16-bit x (…, in), with x and W in e4m3 and sums in fp32."""

    weight: torch.Tensor
    inverse: torch.Tensor
    scale: torch.Tensor
    weight_scale: torch.Tensor

    def __init__(self, linear: torch.nn.Linear, largest: float) -> None:
        """`largest` is the largest absolute value that calibration found among the inputs of `linear`."""
        super().__init__()
        weight = linear.weight.detach()
        scale, weight_scale = _power_of_two(largest * MARGIN / MOST), _power_of_two(float(weight.abs().max()) / MOST)
        self.register_buffer("weight", _cast(weight / weight_scale))
        self.bias = linear.bias
        for name, value in (("inverse", 1 / scale), ("scale", scale), ("weight_scale", weight_scale)):
            self.register_buffer(name, torch.tensor(value, device=weight.device), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = _cast(x.reshape(-1, x.shape[-1]) * self.inverse)
        y = torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=self.scale,
            scale_b=self.weight_scale,
            bias=self.bias,
            out_dtype=x.dtype,
        )
        return y.view(*x.shape[:-1], -1)


def is_possible(device: torch.device) -> bool:
    """True if a device computes in e4m3: a CPU, slowly, and NVIDIA's GPUs of compute capability 8.9 and more."""
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= (8, 9)
    return device.type == "cpu"


@dataclass(eq=False)
class _Layer:
    """A linear layer of a block: the attribute `name` of `parent`. `role` is its dotted name in the block."""

    parent: torch.nn.Module
    name: str
    role: str
    exact: torch.nn.Linear
    eighth: torch.nn.Module | None = None

    def use(self, eighth: bool) -> None:
        setattr(self.parent, self.name, (self.eighth if eighth else None) or self.exact)


def quantise(module: torch.nn.Module, vectors: Callable[[], torch.Tensor], most_loss: float = MOST_LOSS) -> float:
    """Convert linear layers of a frozen 16-bit module to e4m3, in place; return the converted share of their numbers.

    As many layers are converted as together lose at most `most_loss`. First come those with the role, in all blocks,
    that loses least for its size; the last role may be converted in the later blocks only, so blocks are of two kinds
    at most. Layers outside repeated blocks (patches, projections) and layers that `vectors` does not call stay.

    Args:
        vectors: runs the module on the calibration inputs, always the same, and returns the vectors (n, d).
        most_loss: most of 1 − cosine that any vector may lose; infinity converts all layers.
    """
    layers = [layer for block in chain.from_iterable(repeated(module)) for layer in _layers(block)]
    exact, largest = _calibrated(layers, vectors)
    layers = [layer for layer in reversed(layers) if layer.exact in largest]
    for layer in layers:
        layer.eighth = Linear8(layer.exact, largest[layer.exact])

    def loss(chosen: Sequence[_Layer]) -> float:
        for layer in layers:
            layer.use(layer in chosen)
        cosines = torch.cosine_similarity(vectors().double(), exact.double())
        return float((1 - cosines).max().nan_to_num(nan=math.inf))

    def cost(role: str) -> float:
        alike = [layer for layer in layers if layer.role == role]
        return loss(alike) / _size(alike)

    if most_loss < math.inf:
        costs = {role: cost(role) for role in {layer.role: None for layer in layers}}
        layers.sort(key=lambda layer: costs[layer.role])
    # the loss grows with the number of layers, so the largest number that is allowed is found by halving
    count = bisect_left(range(1, len(layers) + 1), True, key=lambda n: loss(layers[:n]) > most_loss)
    for i, layer in enumerate(layers):
        layer.use(i < count)
    return _size(layers[:count]) / max(_size(layers), 1)


def _layers(block: torch.nn.Module) -> Iterator[_Layer]:
    for path, part in block.named_modules():
        for name, layer in part.named_children():
            if _is_large(layer):
                yield _Layer(part, name, f"{path}.{name}", layer)


def _size(layers: Sequence[_Layer]) -> int:
    return sum(layer.exact.weight.numel() for layer in layers)


def _calibrated(
    layers: Sequence[_Layer], vectors: Callable[[], torch.Tensor]
) -> tuple[torch.Tensor, dict[torch.nn.Module, float]]:
    """Return the vectors, and the largest absolute value among the inputs of each layer that is called."""
    largest: dict[torch.nn.Module, float] = {}

    def note(layer: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        largest[layer] = max(largest.get(layer, 0.0), float(inputs[0].abs().max()))

    hooks = [layer.exact.register_forward_pre_hook(note) for layer in layers]
    try:
        return vectors(), largest
    finally:
        for hook in hooks:
            hook.remove()


def _is_large(layer: torch.nn.Module) -> TypeGuard[torch.nn.Linear]:
    """True for a linear layer that gains; attention of torch's own reads its layers' weights itself and is left out."""
    if type(layer) is not torch.nn.Linear:
        return False
    sides = tuple(layer.weight.shape)
    return min(sides) >= LEAST_SIDE and not any(side % _MULTIPLE for side in sides)


def _cast(x: torch.Tensor) -> torch.Tensor:
    """Return e4m3; numbers that are too large become the largest ones, not NaN."""
    return x.clamp(-MOST, MOST).to(torch.float8_e4m3fn)


def _power_of_two(least: float) -> float:
    """Return the smallest power of two that is at least `least`; 1 for 0."""
    return 2.0 ** math.ceil(math.log2(least)) if least > 0 else 1.0
