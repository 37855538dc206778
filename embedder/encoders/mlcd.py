"""MLCD's vision towers (An et al. 2024, arXiv 2407.17331) through transformers: ``mlcd/<id>``, or a folder of your own.

Vectors are the class token after the final norm, raw: the released weights have no projection. Tokens are the patch
tokens of the last layer after that same norm, as for ``openclip/…``; transformers' ``last_hidden_state`` is taken
before the norm. The folder's ``preprocessor_config.json`` says how images are prepared; without that file,
images are prepared as for CLIP, at the size of the network. There is no text side.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from embedder.encoder import Blueprint, Encoder, image_blueprint
from embedder.engines.graph_encoder import assemble
from embedder.errors import UnknownEncoder, WeightsError
from embedder.spec import EncoderSpec
from embedder.weights import hub_folder
from embedder.weights.checkpoint import digest, frozen, load_strictly
from embedder.weights.fetch import fetch


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A released tower: its repository on the Hugging Face hub, image size and patch size (pixels), and width."""

    repository: str
    size: int
    patch: int
    dim: int


CONFIGS = {
    "base-patch32-224": ModelConfig("DeepGlint-AI/mlcd-vit-base-patch32-224", 224, 32, 768),
    "large-patch14-336": ModelConfig("DeepGlint-AI/mlcd-vit-large-patch14-336", 336, 14, 1024),
    "bigG-patch14-224": ModelConfig("DeepGlint-AI/mlcd-vit-bigG-patch14-224", 224, 14, 1664),
    "bigG-patch14-336": ModelConfig("DeepGlint-AI/mlcd-vit-bigG-patch14-336", 336, 14, 1664),
    "bigG-patch14-448": ModelConfig("DeepGlint-AI/mlcd-vit-bigG-patch14-448", 448, 14, 1664),
}

# The smaller towers are ordinary CLIP vision towers; bigG has rotary positions, and its folder names that type "mlcd".
_ARCHITECTURES = {
    "clip_vision_model": transformers.CLIPVisionConfig,
    "mlcd_vision_model": transformers.MLCDVisionConfig,
    "mlcd": transformers.MLCDVisionConfig,
}


def load(name: str, *, backend: str, cache_dir: Path, threads: int | None) -> Encoder:
    """Return the encoder of that name. Arguments and errors as for `embedder.registry.load`."""
    return assemble(name, blueprint(name), backend, cache_dir, threads)


def blueprint(name: str) -> Blueprint:
    """Return the blueprint of ``mlcd/<id>``, ``mlcd/<id>@<folder>`` or ``mlcd@<folder>``.

    Reads the weights, because they are part of its identity.

    Raises UnknownEncoder for an id that is not in `CONFIGS`, WeightsError for weights that are missing, unreadable or
    of another architecture, and for preprocessing that cannot be represented.
    """
    folder = _folder(name)
    spec = _spec(folder, _config(folder), _load(folder))
    return image_blueprint(spec, ("transformers",), partial(_tower, folder))


def _folder(name: str) -> Path:
    """Return the folder of the model, downloaded if necessary, and checked against the id in the name."""
    rest, at, path = name.partition("@")
    identity = rest.removeprefix("mlcd").removeprefix("/")
    if at and not identity:
        return Path(path).expanduser()
    known = CONFIGS.get(identity)
    if known is None:
        raise UnknownEncoder(name, [*(f"mlcd/{each}" for each in CONFIGS), "mlcd@<folder>"])
    published = hub_folder.published(known.repository)
    folder = Path(path).expanduser() if at else fetch(name, [published], own=f"{name}@FOLDER")
    _check_dimensions(name, known, _config(folder))
    return folder


def _config(folder: Path) -> Any:
    """Return transformers' configuration of the tower. Raises WeightsError for a model of another type."""
    path = folder / hub_folder.CONFIG
    fields = hub_folder.read_json(path)
    model_type = fields.pop("model_type", None)
    if model_type not in _ARCHITECTURES:
        raise WeightsError(
            f"{folder} holds a model of type {model_type!r}; mlcd takes one of {', '.join(_ARCHITECTURES)}"
        )
    try:
        return _ARCHITECTURES[model_type].from_dict(fields)
    except Exception as error:  # transformers' own checks raise many types
        raise WeightsError(f"{path} describes a tower that transformers cannot build: {error}") from error


def _check_dimensions(name: str, known: ModelConfig, config: Any) -> None:
    found = (config.image_size, config.patch_size, config.hidden_size)
    if found != (known.size, known.patch, known.dim):
        raise WeightsError(
            f"{name} has image size, patch size and width {known.size}, {known.patch} and {known.dim}; its folder "
            f"says {found[0]}, {found[1]} and {found[2]}: give another folder, or call it mlcd@FOLDER"
        )


def _load(folder: Path) -> torch.nn.Module:
    """Return the whole tower in fp32, filled and frozen. Raises WeightsError."""
    model = transformers.AutoModel.from_config(_config(folder), attn_implementation="sdpa", dtype=torch.float32)
    trunk = _trunk(model)
    # Older files have the prefix, and save position_ids, which are counted and not learned.
    plain = {name.removeprefix("vision_model."): tensor for name, tensor in hub_folder.state(folder).items()}
    plain.pop("embeddings.position_ids", None)
    load_strictly(trunk, plain, str(folder))
    return frozen(trunk)


def _trunk(model: Any) -> torch.nn.Module:
    """Return the tower itself: transformers 4 wraps it once more than 5 does."""
    trunk: torch.nn.Module = getattr(model, "vision_model", model)
    return trunk


def _spec(folder: Path, config: Any, trunk: torch.nn.Module) -> EncoderSpec:
    image = hub_folder.preprocessing(folder, config.image_size)
    return EncoderSpec(
        architecture=_architecture(config),
        weights=digest(trunk.state_dict()),
        activation=config.hidden_act.replace("_", ""),
        output="pooled",
        dim=config.hidden_size,
        tokens=((image.size // config.patch_size) ** 2, config.hidden_size),
        image=image,
    )


def _architecture(config: Any) -> str:
    """Return the name of the architecture, with the facts that the shapes of the weights do not show."""
    rotary = getattr(config, "rope_parameters", None)
    parts = [f"{config.num_attention_heads} heads", f"eps {config.layer_norm_eps:g}"]
    parts += [f"rope {rotary['rope_theta']:g}"] if rotary else []
    return f"transformers:{type(config).__name__.removesuffix('Config')} ({', '.join(parts)})"


class _Tower(torch.nn.Module):
    """(n, 3, size, size) → (vectors,) or (vectors, tokens)."""

    def __init__(self, trunk: Any, tokens: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.tokens = tokens

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.trunk(pixel_values=pixels)
        if not self.tokens:
            return (found.pooler_output,)
        return found.pooler_output, self.trunk.post_layernorm(found.last_hidden_state[:, 1:])


def _tower(folder: Path, tokens: bool) -> torch.nn.Module:
    return frozen(_Tower(_load(folder), tokens))
