"""MLCD's vision towers (An et al. 2024, arXiv 2407.17331) through transformers: ``mlcd/<id>``, or a folder of your own.

Vectors are the class token after the final norm, raw: the released weights have no projection. Tokens are the patch
tokens of the last layer after that same norm, as for ``openclip/…``; transformers' ``last_hidden_state`` is before it.
Preprocessing is what the folder's ``preprocessor_config.json`` says; without one CLIP's, at the size of the network.
There is no text side.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from embedder.encoder import Blueprint, image_blueprint
from embedder.errors import UnknownEncoder, WeightsError
from embedder.spec import EncoderSpec
from embedder.weights import checkpoint as weights
from embedder.weights import hub_folder


@dataclass(frozen=True, slots=True)
class Record:
    """A released tower: its repository on the Hugging Face hub, image size, patch size and width."""

    repository: str
    size: int
    patch: int
    dim: int


RECORDS = {
    "base-patch32-224": Record("DeepGlint-AI/mlcd-vit-base-patch32-224", 224, 32, 768),
    "large-patch14-336": Record("DeepGlint-AI/mlcd-vit-large-patch14-336", 336, 14, 1024),
    "bigG-patch14-224": Record("DeepGlint-AI/mlcd-vit-bigG-patch14-224", 224, 14, 1664),
    "bigG-patch14-336": Record("DeepGlint-AI/mlcd-vit-bigG-patch14-336", 336, 14, 1664),
    "bigG-patch14-448": Record("DeepGlint-AI/mlcd-vit-bigG-patch14-448", 448, 14, 1664),
}

# The smaller towers are plain CLIP vision towers, bigG has rotary positions; "mlcd" is what its released folders say.
_CONFIGS = {
    "clip_vision_model": transformers.CLIPVisionConfig,
    "mlcd_vision_model": transformers.MLCDVisionConfig,
    "mlcd": transformers.MLCDVisionConfig,
}


def blueprint(name: str) -> Blueprint:
    """The encoder ``mlcd/<id>``, ``mlcd/<id>@<folder>`` or ``mlcd@<folder>``. Reads the weights: they identify it.

    Raises UnknownEncoder for an id that is none of `RECORDS`, WeightsError for weights that are missing, unreadable or
    of another architecture, ValueError for preprocessing that cannot be represented.
    """
    folder = _folder(name)
    spec = _spec(folder, _config(folder), _load(folder))
    return image_blueprint(spec, ("transformers",), partial(_tower, folder))


def _folder(name: str) -> Path:
    """Where the files are: on the machine, fetched if need be, and of the tower that the name says."""
    rest, at, path = name.partition("@")
    identity = rest.removeprefix("mlcd").removeprefix("/")
    if at and not identity:
        return Path(path).expanduser()
    record = RECORDS.get(identity)
    if record is None:
        raise UnknownEncoder(name, [*(f"mlcd/{known}" for known in RECORDS), "mlcd@<folder>"])
    folder = Path(path).expanduser() if at else hub_folder.fetched(name, record.repository)
    _check_record(name, record, _config(folder))
    return folder


def _config(folder: Path) -> Any:
    """The architecture. Raises WeightsError for one that is no MLCD tower."""
    path = folder / hub_folder.CONFIG
    fields = hub_folder.read_json(path)
    kind = fields.pop("model_type", None)
    if kind not in _CONFIGS:
        raise WeightsError(f"{folder} holds a model of type {kind!r}; mlcd takes one of {', '.join(_CONFIGS)}")
    try:
        return _CONFIGS[kind].from_dict(fields)
    except Exception as error:  # transformers' own checks raise many kinds
        raise WeightsError(f"{path} describes no tower that transformers can build: {error}") from error


def _check_record(name: str, record: Record, config: Any) -> None:
    found = (config.image_size, config.patch_size, config.hidden_size)
    if found != (record.size, record.patch, record.dim):
        raise WeightsError(
            f"{name} has image size, patch size and width {record.size}, {record.patch} and {record.dim}; its folder "
            f"says {found[0]}, {found[1]} and {found[2]}: give another folder, or call it mlcd@FOLDER"
        )


def _load(folder: Path) -> torch.nn.Module:
    """The whole tower in fp32, filled, frozen. Raises WeightsError."""
    model = transformers.AutoModel.from_config(_config(folder), attn_implementation="sdpa", dtype=torch.float32)
    trunk = _trunk(model)
    # Older files have the prefix; position_ids are counted, not learned, and no longer saved.
    plain = {name.removeprefix("vision_model."): tensor for name, tensor in hub_folder.state(folder).items()}
    plain.pop("embeddings.position_ids", None)
    weights.load_strictly(trunk, plain, str(folder))
    return weights.frozen(trunk)


def _trunk(model: Any) -> torch.nn.Module:
    """transformers 4 wraps the tower once more, 5 does not."""
    trunk: torch.nn.Module = getattr(model, "vision_model", model)
    return trunk


def _spec(folder: Path, config: Any, trunk: torch.nn.Module) -> EncoderSpec:
    image = hub_folder.preprocessing(folder, config.image_size)
    return EncoderSpec(
        architecture=_architecture(config),
        weights=weights.digest(trunk.state_dict()),
        activation=config.hidden_act.replace("_", ""),
        output="pooled",
        dim=config.hidden_size,
        tokens=((image.size // config.patch_size) ** 2, config.hidden_size),
        image=image,
    )


def _architecture(config: Any) -> str:
    """With what the shapes of the weights do not tell."""
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
    return weights.frozen(_Tower(_load(folder), tokens))
