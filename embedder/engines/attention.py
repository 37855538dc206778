"""Self-attention with one product for queries, keys and values, in place of torch's own module.

`torch.nn.MultiheadAttention` copies queries, keys and values before it attends, and its packed weights hide from
whoever replaces linear layers (`embedder.engines.fp8`). `Attention` reads them where the product left them.
"""

from functools import cache
from typing import Any

import torch
from torch.nn import functional


class Attention(torch.nn.MultiheadAttention):
    """A MultiheadAttention that computes plain self-attention by itself and leaves all other calls to torch.

    Plain means: query, key and value are one tensor of three axes, and neither the attention weights nor a padding mask
    are asked for. `faster` makes these modules from existing ones.
    """

    qkv: torch.nn.Module
    out: torch.nn.Module

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what MultiheadAttention returns. The arguments are those of its `forward`."""
        is_self = query is key and key is value and query.ndim == 3
        lacks_mask = is_causal and attn_mask is None  # torch decides
        if is_self and not need_weights and key_padding_mask is None and not lacks_mask:
            return self._attend(query, attn_mask), None
        found: tuple[torch.Tensor, torch.Tensor | None] = super().forward(
            query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
        )
        return found

    def _attend(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the attention among tokens x (n, length, d), or (length, n, d) without `batch_first`."""
        to_heads, back = ((2, 0, 3, 1, 4), (0, 2, 1, 3)) if self.batch_first else ((2, 1, 3, 0, 4), (2, 0, 1, 3))
        shape = (*x.shape[:2], 3, self.num_heads, self.head_dim)
        query, key, value = self.qkv(x).view(shape).permute(to_heads).unbind(0)  # (n, heads, length, head_dim), no copy
        rows, heads, length, _ = query.shape
        if mask is not None:
            mask = mask.logical_not() if mask.dtype == torch.bool else mask.to(query.dtype)  # True means masked here
            mask = mask.view(rows, heads, length, length) if mask.ndim == 3 else mask
        y = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended: torch.Tensor = self.out(y.permute(back).reshape(x.shape))
        return attended


def faster(module: torch.nn.Module) -> torch.nn.Module:
    """Turn every MultiheadAttention inside a frozen module into an `Attention`, in place, and return the module.

    The weights are shared, not copied. Subclasses keep their own `forward`; only their calls of torch's are faster.
    Modules that append a learned or zero key (`bias_k`, `add_zero_attn`), or whose keys have another width, are left as
    they are.
    """
    for part in [*module.modules()]:
        if isinstance(part, torch.nn.MultiheadAttention) and not isinstance(part, Attention) and _suits(part):
            kind: Any = type(part)
            part.__class__ = _faster(kind)
            part.qkv = _linear(part.in_proj_weight, part.in_proj_bias)
            part.out = _linear(part.out_proj.weight, part.out_proj.bias)
    return module


def _suits(part: torch.nn.MultiheadAttention) -> bool:
    appends = part.bias_k is not None or part.bias_v is not None or part.add_zero_attn
    return bool(part._qkv_same_embed_dim) and not appends and not part.training


@cache
def _faster(kind: Any) -> Any:
    """Return `Attention`, or a subclass of `kind` in which ``super().forward`` is `Attention.forward`."""
    return Attention if kind is torch.nn.MultiheadAttention else type(kind.__name__, (kind, Attention), {})


def _linear(weight: Any, bias: Any) -> torch.nn.Linear:
    with torch.device("meta"):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight, linear.bias = weight, bias
    return linear.eval()
