"""The source of an open_clip model: the architecture, the weights and the preprocessing that a name stands for."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.pretrained import get_pretrained_cfg

from embedder import files
from embedder.encoders.openclip.output import ENDINGS
from embedder.errors import UnknownEncoder, WeightsError
from embedder.weights import fetch

_QUICK = "-quickgelu"
_DOWNLOADS = Path("~/.cache/clip")
"""Folder in which open_clip keeps files from plain addresses."""
_IRRELEVANT = (
    *("patch_dropout", "timm_model_pretrained", "timm_drop", "timm_drop_path", "hf_model_pretrained"),
    *("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"),
)
"""Settings that do not identify a model: those of training, and those of the tokeniser, whose output a spec hashes."""


@dataclass(frozen=True, slots=True)
class Source:
    """An architecture and the file that fills it.

    Attributes:
        model: open_clip's name of the architecture; ``local-dir:<folder>`` for a folder.
        architecture: the name in a spec, which does not depend on the folder.
        checkpoint: the file of weights.
        quick_gelu: True builds the model with QuickGELU although the architecture's configuration does not say so.
        preprocessing: settings of the pretrained tag, which take precedence over the architecture's.
        trusted: True if the checkpoint may be a TorchScript archive, see `embedder.weights.checkpoint.read_state`.
    """

    model: str
    architecture: str
    checkpoint: Path
    quick_gelu: bool = False
    preprocessing: dict[str, Any] = field(default_factory=dict)
    trusted: bool = False

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = open_clip.get_model_config(self.model)
        return found


def find(name: str) -> Source:
    """Return the source of ``openclip/<model>/<tag>``, ``openclip/<model>@<file or folder>`` or ``openclip@<folder>``.

    Raises UnknownEncoder for a model or tag that open_clip does not know, WeightsError for weights that are missing.
    """
    model, at, path = name.removeprefix("openclip").removeprefix("/").partition("@")
    if path and (folder := Path(path).expanduser()).is_dir():
        return _folder(model, folder, name)
    if at and not model:
        raise WeightsError(f"{name} needs a folder with {HF_CONFIG_NAME}; {path!r} is not a folder")
    if at:
        return Source(_known(model, name), _label(model), Path(path).expanduser(), model.endswith(_QUICK))
    model, _, tag = model.partition("/")
    _known(model, name)
    config = get_pretrained_cfg(model, tag)
    if not config:
        known = [f"openclip/{model}/{tag}" for tag in open_clip.list_pretrained_tags_by_model(model)]
        raise UnknownEncoder(name, [*known, f"openclip/{model}@FILE", f"each optionally with {ENDINGS}"])
    return Source(model, _label(model), _checkpoint(name, model, config), bool(config.get("quick_gelu")), config)


def _checkpoint(name: str, model: str, config: dict[str, Any]) -> Path:
    """Return the file of a pretrained tag, downloaded if necessary. Raises WeightsError."""
    if file := config.get("file"):
        return Path(file)
    return fetch.fetch(name, _published(config), own=f"openclip/{model}@FILE")


def _published(config: dict[str, Any]) -> list[fetch.Source]:
    """Return where open_clip publishes the weights of a pretrained tag, the hub first."""
    sources: list[fetch.Source] = []
    if hub := config.get("hf_hub"):
        repository, file = os.path.split(hub)
        sources.append(fetch.HubFile(repository, (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)))
    if url := config.get("url"):
        sources.append(fetch.WebFile(url, _DOWNLOADS.expanduser() / os.path.basename(url), _stated_digest(url)))
    return sources


def _stated_digest(url: str) -> str:
    """Return the sha256, or its first digits, that an address contains; empty if it contains none."""
    if "openaipublic" in url:
        return url.split("/")[-2]
    return Path(url).stem.rpartition("-")[2] if "mlfoundations" in url else ""


def _known(model: str, name: str) -> str:
    if model not in open_clip.list_models():
        raise UnknownEncoder(name, [f"openclip/{known}/…" for known in open_clip.list_models()])
    return model


def _label(model: str) -> str:
    """Return the architecture's name in a spec, without the activation, which has a field of its own."""
    return f"open_clip:{model.removesuffix(_QUICK)}"


def _folder(model: str, folder: Path, name: str) -> Source:
    config = _config(folder)
    if model:
        _require_same(_known(model, name), config, folder)
    weights = [folder / file for file in (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)]
    checkpoint = next((file for file in weights if file.is_file()), None)
    if checkpoint is None:
        raise WeightsError(f"{folder} has no {HF_SAFE_WEIGHTS_NAME} and no {HF_WEIGHTS_NAME}; put the weights there")
    return Source(f"local-dir:{folder}", _label(model) if model else _digest(config), checkpoint)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, files.Refused) else repr(error)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / HF_CONFIG_NAME
    try:
        config: dict[str, Any] = files.read_json(path)["model_cfg"]
        _facts(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder} has no usable {HF_CONFIG_NAME} ({_reason(error)}); it describes the model under 'model_cfg', "
            f"with embed_dim, vision_cfg and text_cfg: take the whole folder from the hub, or give the file of weights "
            f"as openclip/<model>@FILE"
        ) from error
    return config


def _require_same(model: str, config: dict[str, Any], folder: Path) -> None:
    """Raise WeightsError unless a folder under a model's name holds that model, because both share one identity."""
    named, found = _facts(open_clip.get_model_config(model)), _facts(config)
    named["quick_gelu"] = model.endswith(_QUICK) or found["quick_gelu"]  # without the suffix, the folder decides
    other = [f"{fact} is {found[fact]}, not {named[fact]}" for fact in named if found[fact] != named[fact]]
    if other:
        raise WeightsError(
            f"{folder} holds another model than {model}: {', '.join(other)}; leave the name out: openclip@{folder}"
        )


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """Return all settings that change a model's numbers, except weights and tokeniser, with defaults filled in.

    Raises TypeError or KeyError for a configuration of another form.
    """
    towers = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg}
    found = {"embed_dim": config["embed_dim"], "quick_gelu": bool(config.get("quick_gelu"))}
    for tower, parsed in towers.items():
        settings = asdict(parsed(**config[tower]))
        found |= {f"{tower}.{name}": settings[name] for name in settings if name not in _IRRELEVANT}
    return found


def _digest(config: dict[str, Any]) -> str:
    """Return a name for a folder's architecture. It hashes the file's own fields: a library's defaults may change."""
    fields = {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return f"open_clip:config-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
