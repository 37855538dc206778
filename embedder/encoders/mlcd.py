"""MLCD's vision towers (An et al. 2024, arXiv 2407.17331) through transformers: ``mlcd/<id>``, or a folder of your own.

Vectors are the class token after the final norm, raw: the released weights have no projection. Tokens are the patch
tokens of the last layer after that same norm, as for ``openclip/…``; transformers' ``last_hidden_state`` is taken
before the norm. The folder's ``preprocessor_config.json`` says how images are prepared; without that file,
images are prepared as for CLIP, at the size of the network. There is no text side.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.encoder import Blueprint, Encoder
from embedder.encoders import hf
from embedder.encoders.hf.model import Source
from embedder.engines.graph_encoder import assemble
from embedder.errors import UnknownEncoder, WeightsError
from embedder.weights import hub_folder
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

_TYPES = ("clip_vision_model", "mlcd_vision_model", "mlcd")
"""Types of the released towers in transformers. The smaller ones are ordinary CLIP vision towers; bigG has rotary
positions, and its folder names that type ``mlcd``."""


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
    found = Source.of(folder).config
    if found.model_type not in _TYPES:
        raise WeightsError(
            f"{folder} holds a model of type {found.model_type!r}; mlcd takes one of {', '.join(_TYPES)}"
        )
    return hf.blueprint(folder)


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
    _check_dimensions(name, known, Source.of(folder).config)
    return folder


def _check_dimensions(name: str, known: ModelConfig, config: Any) -> None:
    found = (config.image_size, config.patch_size, config.hidden_size)
    if found != (known.size, known.patch, known.dim):
        raise WeightsError(
            f"{name} has image size, patch size and width {known.size}, {known.patch} and {known.dim}; its folder "
            f"says {found[0]}, {found[1]} and {found[2]}: give another folder, or call it mlcd@FOLDER"
        )
