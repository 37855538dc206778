"""ImageBind's towers, each built alone by the authors' library, with the dimensions of a checkpoint."""

import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from embedder import files
from embedder.errors import WeightsError
from embedder.spec import ImagePreprocessing
from embedder.weights.checkpoint import State, frozen, load_strictly, read_state

HEADS: Mapping[str, int] = {"vision": 16, "text": 16, "audio": 12, "depth": 8, "thermal": 12, "imu": 8}
"""Number of attention heads of each tower of imagebind_huge, the one number that no tensor's shape shows."""

_SMALLEST = 8
"""Width of the towers that are not used. The library always builds all towers; these have no blocks."""


def library(name: str) -> Any:
    """Return a module of the package `imagebind`, e.g. ``models.imagebind_model``.

    The package's own ``__init__`` is skipped, because it imports pytorchvideo, which no longer works with torchvision.
    Raises ModuleNotFoundError.
    """
    if "imagebind" not in sys.modules:
        found = importlib.util.find_spec("imagebind")
        if found is None:
            raise ModuleNotFoundError("No module named 'imagebind'", name="imagebind")
        bare = ModuleType("imagebind")
        bare.__path__ = list(found.submodule_search_locations or ())
        sys.modules["imagebind"] = bare
    return importlib.import_module(f"imagebind.{name}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file of weights, the number of attention heads of each of its towers, and True if the file is trusted."""

    path: Path
    heads: Mapping[str, int]
    trusted: bool = False

    @classmethod
    def of(cls, path: Path) -> "Checkpoint":
        """Return the checkpoint at `path`. Its heads are `HEADS`, unless a file ``<path>.json`` says otherwise.

        That file looks like ``{"heads": {"vision": 2, …}}``. Raises WeightsError if it does not.
        """
        beside = path.with_name(path.name + ".json")
        if not beside.is_file():
            return cls(path, HEADS)
        try:
            stated = files.read_json(beside)["heads"]
            heads = {tower: int(stated[tower]) for tower in HEADS}
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{beside}: {error}; expected is {json.dumps({'heads': dict(HEADS)})}") from error
        return cls(path, heads)

    def read(self) -> State:
        """Return all tensors. Raises WeightsError, also if they are not ImageBind's."""
        state = read_state(self.path, trusted=self.trusted)
        lacking = [tower for tower in HEADS if not _of(tower, state)]
        if lacking:
            raise WeightsError(f"{self.path} is not a checkpoint of ImageBind: it has no tower {', '.join(lacking)}")
        return state

    def build(self, tower: str) -> torch.nn.Module:
        """Return one tower, filled and frozen: preprocessor, trunk, head and scale. Raises WeightsError."""
        state = self.read()
        try:
            model = library("models.imagebind_model").ImageBindModel(**_dimensions(state, self.heads, tower))
        except (KeyError, AssertionError, RuntimeError) as error:
            raise WeightsError(f"no ImageBind model has the shapes in {self.path}: {error!r}") from error
        module = Tower(model, tower)
        load_strictly(module, _of(tower, state), str(self.path))
        return frozen(module)


def _of(tower: str, state: State) -> State:
    """Return the tensors of one tower, under their names in `Tower`."""
    names = {f"modality_{part}s.{tower}.": f"{part}." for part in Tower.PARTS}
    return {
        new + name.removeprefix(old): tensor
        for name, tensor in state.items()
        for old, new in names.items()
        if name.startswith(old)
    }


def _dimensions(state: State, heads: Mapping[str, int], tower: str) -> dict[str, Any]:
    """Return the arguments of ImageBindModel that give `tower` the shapes in `state`."""
    found: dict[str, Any] = {}
    for each in HEADS:
        found |= {f"{each}_embed_dim": _SMALLEST, f"{each}_num_blocks": 0, f"{each}_num_heads": 1}
    shapes = {name: tuple(tensor.shape) for name, tensor in _of(tower, state).items()}
    blocks = {name.split(".")[2] for name in shapes if name.startswith("trunk.blocks.")}
    width = shapes["preprocessor.token_embedding.weight" if tower == "text" else "preprocessor.cls_token"][-1]
    projection = next(shape for name, shape in shapes.items() if name.startswith("head.") and len(shape) == 2)
    found |= {
        "out_embed_dim": projection[0],
        f"{tower}_embed_dim": width,
        f"{tower}_num_blocks": len(blocks),
        f"{tower}_num_heads": heads[tower],
    }
    if tower == "vision":
        found["kernel_size"] = shapes["preprocessor.rgbt_stem.proj.1.weight"][2:]
    if tower in ("audio", "thermal", "depth"):
        stem = "depth_stem" if tower == "depth" else "rgbt_stem"
        found[f"{tower}_kernel_size"] = shapes[f"preprocessor.{stem}.proj.weight"][2]
    return found


class Tower(torch.nn.Module):
    """One modality's part of ``ImageBindModel.forward``: (n, …) → (vectors,)."""

    PARTS = ("preprocessor", "trunk", "head", "postprocessor")
    preprocessor: Any
    trunk: Any
    head: Any
    postprocessor: Any

    def __init__(self, model: Any, tower: str) -> None:
        super().__init__()
        self.tower = tower
        for part in self.PARTS:
            setattr(self, part, getattr(model, f"modality_{part}s")[tower])

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor]:
        made = self.preprocessor(**{self.tower: inputs})
        return self.finish(made["trunk"], made["head"])

    def finish(self, trunk: Mapping[str, torch.Tensor], head: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor]:
        """Return the vectors of tokens: the part of `forward` after the preprocessor."""
        return (self.postprocessor(self.head(self.trunk(**trunk), **head)),)


class Images(torch.nn.Module):
    """The vision tower for images: (n, 3, 224, 224), normalised → (vectors,).

    An image is a video of two equal frames. The convolution over two frames becomes one over images with the sum of its
    weights. This halves the work of the stem, and allows channels-last layouts, which need two spatial dimensions.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        stem = tower.preprocessor.rgbt_stem
        stem.proj = _flat(stem.proj[1], lambda weight: weight.sum(2))
        self.tower = tower

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
        return self.tower(pixels)  # type: ignore[no-any-return]


class Views(torch.nn.Module):
    """The vision tower for videos: (n, frames, 224, 224, 3) uint8 → (vectors,). It normalises the pixels.

    Frames are channels of one convolution.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, tower: Any, p: ImagePreprocessing) -> None:
        super().__init__()
        stem = tower.preprocessor.rgbt_stem
        stem.proj = _flat(stem.proj[1], lambda weight: weight.flatten(1, 2))
        self.tower = tower
        self.register_buffer("mean", torch.tensor(p.mean))
        self.register_buffer("std", torch.tensor(p.std))

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor]:
        normalised = (frames.to(self.mean.dtype) / 255 - self.mean) / self.std
        return self.tower(normalised.permute(0, 4, 1, 2, 3).flatten(1, 2))  # type: ignore[no-any-return]


class Motions(torch.nn.Module):
    """The tower for motion: (n, 6, samples) → (vectors,).

    Readings are cut into patches by reshape, because OpenVINO cannot convert `unfold`.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, readings: torch.Tensor) -> tuple[torch.Tensor]:
        first = self.tower.preprocessor
        patches = readings.unflatten(2, (-1, first.kernel_size)).transpose(1, 2).flatten(2)  # type: ignore[no-untyped-call]
        return self.tower.finish({"tokens": first.tokenize_input_and_cls_pos(patches, first.imu_stem)}, {})  # type: ignore[no-any-return]


def _flat(stem: Any, flattened: Any) -> torch.nn.Conv2d:
    """Return a convolution over space from one over space and time that covers all frames at once."""
    weight = flattened(stem.weight.detach())
    plane = torch.nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], stem.stride[1:], bias=False)
    plane.weight = torch.nn.Parameter(weight, requires_grad=False)
    return plane
