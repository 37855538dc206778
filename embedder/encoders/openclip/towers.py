"""The image and text towers of open_clip as modules: pixels → (vectors,) or (vectors, tokens); ids → (vectors,)."""

from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

from embedder.encoders.openclip.output import Output


def image(visual: Any, output: Output, *, tokens: bool) -> torch.nn.Module:
    """Return a module: (n, 3, size, size) → (vectors,) or, with `tokens`, (vectors, tokens). Changes `visual`.

    Raises ValueError for an output that this type of tower does not have.
    """
    towers = {VisionTransformer: _Transformer, ModifiedResNet: _ResNet, TimmModel: _Timm}
    return towers[type(visual)](visual, output, tokens)


def gives_tokens(visual: Any, output: Output) -> bool:
    """True if the tower returns tokens: open_clip's own transformers always do, others if tokens are asked for."""
    return isinstance(visual, VisionTransformer) or output.tokens or output.penultimate


class _Transformer(torch.nn.Module):
    """open_clip's own vision transformer."""

    def __init__(self, visual: Any, output: Output, tokens: bool) -> None:
        super().__init__()
        if output.penultimate and visual.attn_pool is not None:
            raise ValueError(
                "its patches pass an attention pooler, not a final norm, so it has no ':penultimate' tokens"
            )
        if output.pooled:
            visual.proj = None
        self.visual = visual
        self.layer = _penultimate(visual.transformer.resblocks) if tokens and output.penultimate else None
        visual.output_tokens = tokens and self.layer is None

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.layer is None:
            found = self.visual(pixels)
            return found if isinstance(found, tuple) else (found,)
        both = self.visual.forward_intermediates(
            pixels,
            indices=[self.layer],
            normalize_intermediates=not self.visual.final_ln_after_pool,  # otherwise patches do not pass the norm
            output_fmt="NLC",
        )
        return both["image_features"], both["image_intermediates"][0]


def _penultimate(layers: Any) -> int:
    if len(layers) < 2:
        raise ValueError("it has one layer, and ':penultimate' needs two")
    return len(layers) - 2


class _ResNet(torch.nn.Module):
    """One of OpenAI's residual networks. Its tokens are the map that attention pooling reads, row by row."""

    def __init__(self, visual: Any, output: Output, tokens: bool) -> None:
        super().__init__()
        if output.penultimate:
            raise ValueError("it is a ResNet, which has no ':penultimate' tokens; ':tokens' gives its last map")
        if output.pooled:
            visual.attnpool.c_proj = _identity(visual.attnpool.c_proj.in_features)
        self.visual, self.tokens = visual, tokens

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not self.tokens:
            return (self.visual(pixels),)
        both = self.visual.forward_intermediates(pixels, indices=[4])
        return both["image_features"], both["image_intermediates"][0].flatten(2).transpose(1, 2)


def _identity(width: int) -> torch.nn.Linear:
    """Return an identity layer, for a projection whose weights are read rather than called."""
    linear = torch.nn.Linear(width, width)
    torch.nn.init.eye_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    return linear


class _Timm(torch.nn.Module):
    """A tower of timm: a trunk, then open_clip's head or, if that is empty, the trunk's own."""

    def __init__(self, visual: Any, output: Output, tokens: bool) -> None:
        super().__init__()
        self.trunk, self.head = visual.trunk, visual.head
        if output.penultimate and not hasattr(self.trunk, "num_prefix_tokens"):
            raise ValueError("its maps of one layer and the next differ in size; ':tokens' gives the last")
        self.bare = output.pooled and _drop_projection(self.trunk, self.head)
        self.tokens = tokens
        self.layer = _penultimate(self.trunk.blocks) if tokens and output.penultimate else None

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.layer is None:
            features = self.trunk.forward_features(pixels)
            patches = _patches(features, self.trunk) if self.tokens else None
        else:
            features, (patches,) = self.trunk.forward_intermediates(
                pixels, indices=[self.layer], norm=True, output_fmt="NLC"
            )
        vectors = self.head(self.trunk.forward_head(features, pre_logits=self.bare))
        return (vectors,) if patches is None else (vectors, patches)


def _drop_projection(trunk: Any, head: Any) -> bool:
    """Remove open_clip's projection. Return True if it is the trunk's last layer.

    Raises ValueError if there is no projection.
    """
    for name in ("proj", "mlp"):
        if hasattr(head, name):
            delattr(head, name)
            return False
    if len(head) or not trunk.num_classes:
        raise ValueError(
            "it has no projection after pooling, so ':pooled' would give the same vectors as the name without it"
        )
    return True


def _patches(features: torch.Tensor, trunk: Any) -> torch.Tensor:
    """Return patch tokens (n, P, F) of a map (n, F, height, width), or of a sequence without its prefix tokens."""
    return features.flatten(2).transpose(1, 2) if features.ndim == 4 else features[:, trunk.num_prefix_tokens :]


class Text(torch.nn.Module):
    """The text tower: (n, context) ids → (vectors,)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        del model.visual

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.model.encode_text(ids, normalize=False),)
