"""A model of transformers, built from a folder as a hub keeps it.

No code of a repository is run: the class comes from the table of families, the configuration is cut down to data, and
weights are safetensors. transformers converts names of tensors between its versions; every tensor must be there and
fit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
import transformers

from embedder.encoders.hf.families import ELSEWHERE, FAMILIES, Family, Tower
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
        family = _family(fields)
        if family is None:
            raise WeightsError(_unknown(folder, fields))
        model = getattr(transformers, family.model, None)
        if model is None:
            raise WeightsError(f"transformers {transformers.__version__} has no {family.model}; install a newer one")
        try:
            with _quietly():
                return cls(folder, family, model.config_class.from_dict(_data(_parts(fields, family))))
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


def _family(fields: Mapping[str, Any]) -> Family | None:
    """Return the family of a model: that of its type and class if there is one, otherwise that of its type."""
    kind, classes = fields.get("model_type"), fields.get("architectures")
    keys = [f"{kind} {name}" for name in classes] if isinstance(classes, list) else []
    return next((FAMILIES[key] for key in (*keys, str(kind)) if key in FAMILIES), None)


def _parts(fields: Mapping[str, Any], family: Family) -> Mapping[str, Any]:
    """Return the configuration of the family's class, which may be a part of the model that `fields` describe.

    Raises ValueError if `fields` lack a part.
    """
    return {name: _part_at(fields, path) for name, path in family.parts.items()} or fields


def _part_at(fields: Mapping[str, Any], path: str) -> Any:
    try:
        return reduce(lambda found, name: found[name], path.split("."), fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it has no {path}") from error


def _unknown(folder: Path, fields: Mapping[str, Any]) -> str:
    found = fields.get("model_type")
    if "architecture" in fields and found is None:
        return f"{folder} holds a model of timm ({fields['architecture']}); give it as timm/<model>"
    if found in ELSEWHERE:
        return f"{folder} holds a model of type {found!r}: {ELSEWHERE[str(found)]}"
    code = "; it needs code of its repository, which is never run" if "auto_map" in fields else ""
    types = dict.fromkeys(key.partition(" ")[0] for key in FAMILIES)
    return f"{folder} holds a model of type {found!r}{code}; supported are {', '.join(types)}"


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
