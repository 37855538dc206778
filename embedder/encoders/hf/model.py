"""A model of transformers, built from a folder as a hub keeps it, and its towers.

No code of a repository is run: the class comes from the table of families, the configuration is cut down to data, and
weights are safetensors. transformers converts names of tensors between its versions; every tensor must be there and
fit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from embedder.encoders.hf.families import ELSEWHERE, FAMILIES, Family, ImageTower, Tower
from embedder.errors import WeightsError
from embedder.weights import hub_folder
from embedder.weights.checkpoint import State, digest, frozen

_NOT_DATA = (
    *("auto_map", "quantization_config", "compression_config", "attn_implementation", "_attn_implementation"),
    *("_attn_implementation_internal", "experts_implementation", "custom_pipelines", "torch_dtype", "dtype"),
    *("model_type", "architectures", "_name_or_path", "transformers_version"),
)
"""Fields of a configuration that choose code, a precision or a place, or that say what is known already."""
_CONSTANT = "position_ids"
"""End of the names of tensors that are counted and not learned. Some versions of transformers save them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder, and the family and configuration that its config.json names."""

    folder: Path
    family: Family
    config: Any

    @classmethod
    def of(cls, folder: Path) -> "Source":
        """Read config.json. Raises WeightsError for a model that the table of families does not have."""
        path = folder / hub_folder.CONFIG
        fields = hub_folder.read_json(path)
        family = FAMILIES.get(str(fields.get("model_type")))
        if family is None:
            raise WeightsError(_unknown(folder, fields))
        model = getattr(transformers, family.model, None)
        if model is None:
            raise WeightsError(f"transformers {transformers.__version__} has no {family.model}; install a newer one")
        try:
            with _quietly():
                return cls(folder, family, model.config_class.from_dict(_data(fields)))
        except Exception as error:  # transformers' own checks raise many types
            raise WeightsError(f"{path} describes a model that transformers cannot build: {error}") from error

    def state(self) -> State:
        """Return the tensors that the towers use, by the names that the family's own class saves."""
        found = {}
        for name, tensor in hub_folder.state(self.folder).items():
            for prefix in self.family.prefixes:
                name = name.removeprefix(prefix)
            found[name] = tensor
        return {name: tensor for name, tensor in found.items() if not name.startswith(self.family.unused or ("\0",))}

    def tower_config(self, tower: Tower) -> Any:
        """Return transformers' configuration of a tower."""
        return getattr(self.config, tower.config) if tower.config else self.config

    def digest(self, state: State, tower: Tower) -> str:
        """Return the digest of a tower's tensors."""
        own = {name: state[name] for name in state if tower.owns(name) and not name.endswith(_CONSTANT)}
        return digest(own)

    def load(self, state: State | None = None) -> Any:
        """Return the whole model in fp32, filled and frozen. Raises WeightsError unless every tensor fits.

        Args:
            state: what `state` returned, if the caller has it already.
        """
        try:
            with _quietly():
                model, report = getattr(transformers, self.family.model).from_pretrained(
                    None,
                    config=self.config,
                    state_dict=dict(self.state() if state is None else state),
                    dtype=torch.float32,
                    ignore_mismatched_sizes=True,  # reported with all the others
                    output_loading_info=True,
                    **self.family.options,
                )
        except WeightsError:
            raise
        except Exception as error:  # transformers and torch raise many types
            raise WeightsError(f"transformers cannot build the model in {self.folder}: {error}") from error
        _check_report(report, self.folder)
        return frozen(model)


def _unknown(folder: Path, fields: Mapping[str, Any]) -> str:
    found = fields.get("model_type")
    if "architecture" in fields and found is None:
        return f"{folder} holds a model of timm ({fields['architecture']}); give it as timm/<model>"
    if found in ELSEWHERE:
        return f"{folder} holds a model of type {found!r}: {ELSEWHERE[str(found)]}"
    code = "; it needs code of its repository, which is never run" if "auto_map" in fields else ""
    return f"{folder} holds a model of type {found!r}{code}; supported are {', '.join(FAMILIES)}"


def _data(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the fields of `_NOT_DATA`, in its parts too."""
    kept = {name: value for name, value in fields.items() if name not in _NOT_DATA}
    return {name: _part(value) if isinstance(value, dict) else value for name, value in kept.items()}


def _part(fields: Mapping[str, Any]) -> dict[str, Any]:
    model_type = {"model_type": fields["model_type"]} if isinstance(fields.get("model_type"), str) else {}
    return _data(fields) | model_type


def _check_report(report: Mapping[str, Any], folder: Path) -> None:
    """Raise WeightsError if transformers left a tensor out, or filled one with random numbers."""
    kinds = {"missing": "missing_keys", "unexpected": "unexpected_keys", "of another shape": "mismatched_keys"}
    found = {kind: sorted(map(_name, report.get(key, ()))) for kind, key in kinds.items()}
    found["unexpected"] = [name for name in found["unexpected"] if not name.endswith(_CONSTANT)]
    wrong = {kind: names for kind, names in found.items() if names}
    if wrong or report.get("error_msgs"):
        said = "; ".join(f"{kind}: {', '.join(names[:8])}" for kind, names in wrong.items())
        raise WeightsError(
            f"the weights in {folder} do not fit the architecture; give weights of this architecture "
            f"({said or report['error_msgs']})"
        )


def _name(entry: object) -> str:
    """Return the name of a tensor in transformers' report, where one of another shape is (name, shape, shape)."""
    return str(entry[0]) if isinstance(entry, tuple) else str(entry)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence transformers' table of tensors that do not fit, and its progress bars: errors say the same."""
    library = transformers.logging
    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(library.CRITICAL)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()


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


class Sounds(_Vectors):
    """(n, 1, frames, bands) → (vectors,), for CLAP."""

    def __init__(self, model: Any, tower: Tower) -> None:
        super().__init__(model, tower)
        for module in self.trunk.modules():
            if hasattr(module, "enable_fusion"):
                module.enable_fusion = False  # it would join clips of a longer sound; here no clip is longer

    def forward(self, spectra: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.project(self.trunk(input_features=spectra).pooler_output),)


class Texts(_Vectors):
    """(ids,) or (ids, mask), each (n, length) → (vectors,)."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor]:
        return (self.project(self.trunk(input_ids=ids, attention_mask=mask).pooler_output),)


def assets(source: Source, model: Any, tokens: bool) -> torch.nn.Module:
    """Return the tower of images or of sounds of a loaded model."""
    part = source.family.assets
    return Images(model, part, source.config, tokens) if isinstance(part, ImageTower) else Sounds(model, part)
