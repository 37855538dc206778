"""The networks of `embedder.encoders.hf`: towers of a model of transformers, each from its inputs to its vectors."""

import math
from typing import Any

import torch

from embedder.encoders.hf.families import AudioTower, ImageTower, PatchTower, TextTower, Tower, WaveTower
from embedder.media.patches import HEADER
from embedder.spec import ImagePreprocessing


def _at(model: Any, path: str) -> Any:
    return model.get_submodule(path) if path else model


def _projection(model: Any, tower: Tower) -> Any:
    return _at(model, tower.projection) if tower.projection else torch.nn.Identity()


class _Vectors(torch.nn.Module):
    """The part that all towers share: a trunk, and what follows its pooled output."""

    def __init__(self, model: Any, tower: Tower) -> None:
        super().__init__()
        self.trunk = _trunk(_at(model, tower.trunk))
        self.trunk.loss_function = None  # converters read every attribute, and this one warns when read unset
        self.projection = _projection(model, tower)
        self.unit = tower.unit

    def project(self, pooled: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.projection(pooled)
        return torch.nn.functional.normalize(vectors, dim=-1) if self.unit else vectors


def _trunk(module: Any) -> Any:
    """Return the tower itself: transformers 4 wraps vision models once more than 5 does."""
    return getattr(module, "vision_model", module)


class Images(_Vectors):
    """(n, 3, size, size) → (vectors,) or (vectors, tokens)."""

    def __init__(self, model: Any, tower: ImageTower, config: Any, tokens: bool) -> None:
        super().__init__(model, tower)
        self.pooled, self.tokens = tower.pooled, tokens
        self.prefix = tower.prefix + (getattr(config, "num_register_tokens", 0) or 0)
        root = self.trunk if not tower.trunk else model
        self.norm = _at(root, tower.norm) if tower.norm else torch.nn.Identity()

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.trunk(pixel_values=pixels)
        vectors = self.project(found.pooler_output if self.pooled else found.last_hidden_state[:, 0])
        return (vectors, self.norm(found.last_hidden_state[:, self.prefix :])) if self.tokens else (vectors,)


class Patches(_Vectors):
    """Images of any shape, (n, patches + 1, 3 size²) uint8 as `embedder.media.patches` makes them → (vectors,).

    It calls the parts of transformers' SigLIP 2 tower in turn, with positions and masks that need no loop over the
    images and no look at their values, so that other engines can convert it.
    """

    def __init__(self, model: Any, tower: PatchTower, image: ImagePreprocessing) -> None:
        super().__init__(model, tower)
        self.channels = list(zip(image.mean, image.std, strict=True))  # as buffers, they would be rounded in 16 bits

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor]:
        low, high = patches[:, 0, :HEADER].int().view(-1, 2, 2).unbind(2)
        grids, count = (low + 256 * high).clamp(min=1), patches.shape[1] - 1
        padding = torch.arange(count, device=patches.device) >= grids.prod(1, keepdim=True)
        parts = self.trunk.embeddings
        places = positions(parts.position_embedding.weight, grids, count)
        states = parts.patch_embedding(self.normalise(patches[:, 1:]).to(places.dtype)) + places
        mask = states.new_zeros(padding.shape).masked_fill(padding, torch.finfo(states.dtype).min)
        states = self.trunk.encoder(inputs_embeds=states, attention_mask=mask[:, None, None]).last_hidden_state
        return (self.project(self.pool(self.trunk.post_layernorm(states), padding)),)

    def normalise(self, patches: torch.Tensor) -> torch.Tensor:
        pixels = patches.reshape(*patches.shape[:2], -1, 3).float() / 255
        return torch.stack([(pixels[..., i] - m) / s for i, (m, s) in enumerate(self.channels)], 3).flatten(2)

    def pool(self, states: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        head = self.trunk.head
        probe = head.probe.repeat(states.shape[0], 1, 1)  # `len` would fix the number of rows of a traced network
        found = head.attention(probe, states, states, key_padding_mask=padding, need_weights=False)[0]
        pooled: torch.Tensor = (found + head.mlp(head.layernorm(found)))[:, 0]
        return pooled


def positions(table: torch.Tensor, grids: torch.Tensor, length: int) -> torch.Tensor:
    """Return the position embeddings of the patches of n images, (n, length, d). Those of padding have no meaning.

    As in transformers, the table is interpolated to the grid of each image (bilinear, with antialiasing), here by one
    product of matrices. torch's interpolation, which transformers uses, is wrong for one column of several rows on a
    CPU (torch 2.14.1); this one is not.

    Args:
        table: (side², d).
        grids: rows and columns of each image, (n, 2).
    """
    side, rows, columns = math.isqrt(len(table)), grids[:, :1], grids[:, 1:]
    places = torch.arange(length, device=table.device)
    row = torch.minimum(torch.div(places, columns, rounding_mode="floor"), rows - 1)
    down, across = _weights(row, rows, side), _weights(places % columns, columns, side)
    weights = (down[..., :, None] * across[..., None, :]).flatten(2)
    return weights.to(table.dtype) @ table


def _weights(index: torch.Tensor, count: torch.Tensor, side: int) -> torch.Tensor:
    """Return the share of each of `side` cells in the cell `index` of `count` cells: triangles, (n, length, side)."""
    scale = side / count.float()
    centres = scale * (index + 0.5)
    cells = torch.arange(side, device=index.device) + 0.5
    shares = (1 - (cells - centres[..., None]).abs() / scale.clamp(min=1)[..., None]).clamp(min=0)
    return shares / shares.sum(2, keepdim=True)


class Spectra(_Vectors):
    """(n, 1, frames, bands) → (vectors,), for CLAP."""

    def __init__(self, model: Any, tower: AudioTower) -> None:
        super().__init__(model, tower)
        for module in self.trunk.modules():
            if hasattr(module, "enable_fusion"):
                module.enable_fusion = False  # it would join clips of a longer sound; here no clip is longer

    def forward(self, spectra: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.project(self.trunk(input_features=spectra).pooler_output),)


class Waves(_Vectors):
    """Waveforms of one length, (n, frames, hop) → (vectors,)."""

    def __init__(self, model: Any, tower: WaveTower) -> None:
        super().__init__(model, tower)
        self.pooled = tower.pooled

    def forward(self, waves: torch.Tensor) -> tuple[torch.Tensor]:
        found = self.trunk(input_values=waves.flatten(1)[:, None])
        if self.pooled:
            return (self.project(found.pooler_output),)
        return (self.project(found.last_hidden_state).mean(1),)


class Texts(_Vectors):
    """(ids,) or (ids, mask), each (n, length) → (vectors,)."""

    def __init__(self, model: Any, tower: TextTower) -> None:
        super().__init__(model, tower)
        self.pooled = tower.pooled

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor]:
        found = self.trunk(input_ids=ids, attention_mask=mask)
        return (self.project(found.pooler_output if self.pooled else found.last_hidden_state[:, 0]),)
