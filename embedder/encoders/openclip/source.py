"""From a name to what is built: which architecture, filled from which file, prepared how."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.pretrained import get_pretrained_cfg

from embedder.encoders.openclip import fetch
from embedder.encoders.openclip.output import ENDINGS
from embedder.errors import UnknownEncoder, WeightsError

_QUICK = "-quickgelu"
_INDIFFERENT = (
    *("patch_dropout", "timm_model_pretrained", "timm_drop", "timm_drop_path", "hf_model_pretrained"),
    *("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"),
)
"""Settings of training, and of the tokeniser, which a spec knows by what it makes of texts."""


@dataclass(frozen=True, slots=True)
class Source:
    """An architecture and the file that fills it.

    Attributes:
        model: what open_clip calls the architecture; of a folder ``local-dir:<folder>``.
        architecture: what a spec calls it, wherever it is.
        checkpoint: the weights.
        quick_gelu: build it with QuickGELU although the architecture's record does not say so.
        preprocessing: of a pretrained tag, over the architecture's own.
    """

    model: str
    architecture: str
    checkpoint: Path
    quick_gelu: bool = False
    preprocessing: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = open_clip.get_model_config(self.model)
        return found


def find(name: str) -> Source:
    """``<model>/<pretrained>``, ``<model>@<file or folder>`` or ``@<folder>`` → what is built.

    Raises UnknownEncoder for a model or tag that open_clip does not know, WeightsError for weights that are missing.
    """
    model, at, path = name.partition("@")
    if path and (folder := Path(path).expanduser()).is_dir():
        return _folder(model, folder, name)
    if at and not model:
        raise WeightsError(f"openclip{name} needs a folder with {HF_CONFIG_NAME}; {path!r} is none")
    if at:
        return Source(_known(model, name), _label(model), Path(path).expanduser(), model.endswith(_QUICK))
    model, _, tag = name.partition("/")
    _known(model, name)
    record = get_pretrained_cfg(model, tag)
    if not record:
        known = [f"openclip/{model}/{tag}" for tag in open_clip.list_pretrained_tags_by_model(model)]
        raise UnknownEncoder(f"openclip/{name}", [*known, f"openclip/{model}@FILE", f"each perhaps with {ENDINGS}"])
    checkpoint = fetch.checkpoint(name, model, record)
    return Source(model, _label(model), checkpoint, bool(record.get("quick_gelu")), record)


def _known(model: str, name: str) -> str:
    if model not in open_clip.list_models():
        raise UnknownEncoder(f"openclip/{name}", [f"openclip/{known}/…" for known in open_clip.list_models()])
    return model


def _label(model: str) -> str:
    """The activation is a fact of its own in a spec, so a name that only states it is the plain one."""
    return f"open_clip:{model.removesuffix(_QUICK)}"


def _folder(model: str, folder: Path, name: str) -> Source:
    config = _config(folder)
    if model:
        _require_same(_known(model, name), config, folder)
    files = [folder / file for file in (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)]
    checkpoint = next((file for file in files if file.is_file()), None)
    if checkpoint is None:
        raise WeightsError(f"{folder} has no {HF_SAFE_WEIGHTS_NAME} and no {HF_WEIGHTS_NAME}; put the weights there")
    return Source(f"local-dir:{folder}", _label(model) if model else _digest(config), checkpoint)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / HF_CONFIG_NAME
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        _facts(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder} has no usable {HF_CONFIG_NAME} ({error!r}); it describes the model under 'model_cfg', with "
            f"embed_dim, vision_cfg and text_cfg: take the whole folder from the hub, or give the file of weights as "
            f"openclip/<model>@FILE"
        ) from error
    return config


def _require_same(model: str, config: dict[str, Any], folder: Path) -> None:
    """A folder under a model's name shares that model's identity, so it has to be that model."""
    named, found = _facts(open_clip.get_model_config(model)), _facts(config)
    named["quick_gelu"] = model.endswith(_QUICK) or found["quick_gelu"]  # a plain name leaves it to the weights
    other = [f"{fact} is {found[fact]}, not {named[fact]}" for fact in named if found[fact] != named[fact]]
    if other:
        raise WeightsError(
            f"{folder} holds another model than {model}: {', '.join(other)}; leave the name out: openclip@{folder}"
        )


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """All that decides a model's numbers but its weights and tokeniser, defaults filled in. TypeError: not a record."""
    towers = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg}
    found = {"embed_dim": config["embed_dim"], "quick_gelu": bool(config.get("quick_gelu"))}
    for tower, record in towers.items():
        settings = asdict(record(**config[tower]))
        found |= {f"{tower}.{name}": settings[name] for name in settings if name not in _INDIFFERENT}
    return found


def _digest(config: dict[str, Any]) -> str:
    """Of the record as it stands: defaults of a library may change, and identities must not."""
    record = {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return f"open_clip:config-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
