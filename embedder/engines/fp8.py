"""Products in eight bits (e4m3) inside the blocks of a transformer, where its vectors allow it.

e4m3 has 3 bits of mantissa: each number loses 2 to 3 %, wherever it lies between the smallest and the largest. One
fixed scale for each tensor is therefore as accurate as a scale for each row, and much faster, because nothing must be
measured while the network runs (Micikevicius et al. 2022, "FP8 formats for deep learning"). Scales are powers of two,
so that scaling loses nothing, and so that the last bits of the calibration do not change them.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch

from embedder.engines.blocks import repeated

MOST = 448.0
"""Largest finite number of e4m3."""
LEAST_SIDE = 512
"""Layers with a smaller side stay in 16 bits: converting their inputs would take longer than it saves."""
MARGIN = 2.0
"""Inputs up to this many times the largest of the calibration are represented; larger ones become the largest."""
MOST_LOSS = 7e-4
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


class _Block:
    """The linear layers of one block: (parent, name, layer), and their converted twins after `convert`."""

    def __init__(self, block: torch.nn.Module) -> None:
        parts = [(part, name, layer) for part in block.modules() for name, layer in part.named_children()]
        self.layers = [(part, name, layer) for part, name, layer in parts if _is_large(layer)]
        self._twins: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []

    def convert(self, largest: Mapping[torch.nn.Module, float]) -> None:
        self._twins = [
            (part, name, Linear8(layer, largest[layer]))
            for part, name, layer in self.layers
            if isinstance(layer, torch.nn.Linear) and layer in largest
        ]

    def use(self, converted: bool) -> None:
        for part, name, layer in self._twins if converted else self.layers:
            setattr(part, name, layer)


def quantise(module: torch.nn.Module, vectors: Callable[[], torch.Tensor], most_loss: float = MOST_LOSS) -> float:
    """Convert linear layers of a frozen 16-bit module to e4m3, in place, and return the share of blocks converted.

    The blocks that lose least alone come first. As many are converted as together lose at most `most_loss`. Layers
    outside repeated blocks (patches, projections) and layers that `vectors` does not call stay as they are.

    Args:
        vectors: runs the module on the calibration inputs, always the same, and returns the vectors (n, d).
        most_loss: most of 1 − cosine that any vector may lose; infinity converts all blocks.
    """
    blocks = [block for block in map(_Block, chain.from_iterable(repeated(module))) if block.layers]
    if not blocks:
        return 0.0
    exact, largest = _calibrated(blocks, vectors)
    for block in blocks:
        block.convert(largest)

    def loss(chosen: Sequence[_Block]) -> float:
        for block in blocks:
            block.use(block in chosen)
        found = vectors()
        return float((1 - torch.cosine_similarity(found.double(), exact.double())).max().nan_to_num(nan=math.inf))

    if most_loss < math.inf:
        blocks.sort(key=lambda block: loss([block]))
    # the loss grows with the number of blocks, so the largest number that is allowed is found by halving
    count = bisect_left(range(1, len(blocks) + 1), True, key=lambda n: loss(blocks[:n]) > most_loss)
    loss(blocks[:count])
    return count / len(blocks)


def _calibrated(
    blocks: Sequence[_Block], vectors: Callable[[], torch.Tensor]
) -> tuple[torch.Tensor, dict[torch.nn.Module, float]]:
    """Return the vectors, and the largest absolute value among the inputs of each layer that is called."""
    largest: dict[torch.nn.Module, float] = {}

    def note(layer: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        largest[layer] = max(largest.get(layer, 0.0), float(inputs[0].abs().max()))

    hooks = [layer.register_forward_pre_hook(note) for block in blocks for _, _, layer in block.layers]
    try:
        return vectors(), largest
    finally:
        for hook in hooks:
            hook.remove()


def _is_large(layer: torch.nn.Module) -> bool:
    """True for a linear layer that gains; attention of torch's own reads its layers' weights itself and is left out."""
    sides = tuple(layer.weight.shape) if type(layer) is torch.nn.Linear else (0,)
    return min(sides) >= LEAST_SIDE and not any(side % _MULTIPLE for side in sides)


def _cast(x: torch.Tensor) -> torch.Tensor:
    """Return e4m3; numbers that are too large become the largest ones, not NaN."""
    return x.clamp(-MOST, MOST).to(torch.float8_e4m3fn)


def _power_of_two(least: float) -> float:
    """Return the smallest power of two that is at least `least`; 1 for 0."""
    return 2.0 ** math.ceil(math.log2(least)) if least > 0 else 1.0
