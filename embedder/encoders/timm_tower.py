"""Any image network of timm: ``timm/<model>`` with timm's weights from a hub, ``timm/<model>@<file>`` with your own.

Vectors are the input of timm's classifier, raw: ``forward_head(forward_features(x), pre_logits=True)``. Tokens are
``forward_features``: the places of a map row by row, or the patch tokens without class and register tokens. Some
networks have none. timm's configuration of the model says how images are prepared; a tag (``resnet50.a1_in1k``) chooses
those weights and their configuration, no tag the model's default weights.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import get_arch_name, get_pretrained_cfg

from embedder.encoder import Blueprint, Encoder, image_blueprint
from embedder.engines.graph_encoder import assemble
from embedder.errors import UnknownEncoder, Unsupported, WeightsError
from embedder.spec import EncoderSpec, ImagePreprocessing
from embedder.trainable import Trainable, thawed
from embedder.weights import licence
from embedder.weights.checkpoint import State, digest, frozen, load_strictly, read_state, write_state
from embedder.weights.fetch import HubFile, fetch

HF_SAFE_WEIGHTS, HF_WEIGHTS = "model.safetensors", "pytorch_model.bin"
"""Names of the files of weights in timm's repositories."""
_CROP = {"center": "centre", "squash": "squash"}
"""timm's crop modes in our words. ``border`` is not supported: it fills uncovered pixels with the mean."""


def load(
    name: str,
    *,
    backend: str,
    cache_dir: Path,
    threads: int | None,
    trust_checkpoint: bool = False,
    accept_noncommercial: bool = False,
) -> Encoder:
    """Return the encoder of that name. Arguments and errors as for `embedder.registry.load`."""
    model, at, _ = _split(name)
    config = None if at or not _is_known(model) else get_pretrained_cfg(model)
    if config and config.hf_hub_id:  # before anything is fetched
        marker = cache_dir / f"timm-{model}-licence-told"
        licence.check_named(name, config.hf_hub_id, config.license, accepted=accept_noncommercial, marker=marker)
    return assemble(name, blueprint(name, trusted=trust_checkpoint), backend, cache_dir, threads)


def blueprint(name: str, *, trusted: bool = False) -> Blueprint:
    """Return the blueprint of ``timm/<model>`` or ``timm/<model>@<file>``.

    Reads the weights, because they are part of its identity.

    Args:
        trusted: see `embedder.weights.checkpoint.read_state`.

    Raises UnknownEncoder for a model that timm does not know, WeightsError for weights that are missing, unreadable or
    of another architecture, Unsupported for preprocessing that cannot be represented.
    """
    model, at, path = _split(name)
    if (at and not path) or not _is_known(model):
        ending = "@FILE" if at else ""
        raise UnknownEncoder(name, [f"timm/{known}{ending}" for known in _similar(model)])
    if at:
        filled = partial(_load, model, partial(read_state, Path(path).expanduser(), trusted=trusted), path)
    else:
        checkpoint = _published(name, model)
        filled = partial(_load, model, partial(_converted, model, checkpoint), str(checkpoint))
    spec = _spec(model, filled())
    plan = image_blueprint(spec, ("timm",), partial(_tower, filled))
    return replace(plan, trainable=lambda: trainable(model, filled()))


def trainable(model: str, network: torch.nn.Module) -> Trainable:
    """Return a network of timm without its classifier for training. It is saved as ``timm/<model>@<file>`` reads it."""
    return Trainable(
        module=thawed(_Tower(network, tokens=False)),
        image=_preprocessing(model, resolve_model_data_config(network)),
        label=get_arch_name(model),
        write=lambda folder: write_state(network.state_dict(), folder / HF_SAFE_WEIGHTS),
        name=lambda folder: f"timm/{model}@{folder / HF_SAFE_WEIGHTS}",
    )


def _split(name: str) -> tuple[str, str, str]:
    return name.removeprefix("timm/").partition("@")


def _published(name: str, model: str) -> Path:
    """Return the file of timm's own weights, downloaded if necessary. Raises WeightsError."""
    config = get_pretrained_cfg(model)
    own = f"timm/{model}@FILE"
    if not (config and config.hf_hub_id):
        place = f"; they are at {config.url}" if config and config.url else ""
        raise WeightsError(f"timm has no weights of {model} on a hub{place}; give a file of weights as {own}")
    files = (config.hf_hub_filename,) if config.hf_hub_filename else (HF_SAFE_WEIGHTS, HF_WEIGHTS)
    return fetch(name, [HubFile(config.hf_hub_id, files)], own=own)


def _converted(model: str, checkpoint: Path) -> State:
    """Return published tensors under the names of timm's network. timm renames those of other projects.

    Raises WeightsError.
    """
    state = read_state(checkpoint)
    try:
        network = timm.create_model(model, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    except (RuntimeError, ValueError, KeyError) as error:
        raise WeightsError(
            f"the weights in {checkpoint} do not fit the architecture; fetch them again ({error})"
        ) from error
    if network.num_classes != network.pretrained_cfg["num_classes"]:
        raise WeightsError(f"timm does not check the weights in {checkpoint}: their number of classes is another")
    return dict(network.state_dict())


def _is_known(model: str) -> bool:
    """True if timm has the model, and its tag if the name has one."""
    return timm.is_model(model) and ("." not in model or model in _tagged(model))


def _similar(model: str) -> list[str]:
    """Return a known model with each of its tags, or a few models whose names look alike: timm has over a thousand."""
    if timm.is_model(model):
        return [get_arch_name(model), *_tagged(model)]
    known = timm.list_models()
    return difflib.get_close_matches(model, known, n=8, cutoff=0.5) or known[:8]


def _tagged(model: str) -> list[str]:
    return list(timm.list_models(f"{get_arch_name(model)}.*", include_tags=True))


def _load(model: str, read: Callable[[], State], origin: str) -> Any:
    """Return timm's network without its classifier, in fp32, filled and frozen.

    Args:
        read: returns the tensors of the whole network.
        origin: where they come from, for errors.

    Raises WeightsError.
    """
    network = timm.create_model(model, pretrained=False, num_classes=0)
    classifier = _names(model) - set(network.state_dict())
    state = {name: tensor for name, tensor in read().items() if name not in classifier}
    load_strictly(network, state, origin)
    return frozen(network)


def _names(model: str) -> set[str]:
    """Return the names of all tensors, classifier included, without allocating any."""
    with torch.device("meta"):
        return set(timm.create_model(model, pretrained=False).state_dict())


def _spec(model: str, network: Any) -> EncoderSpec:
    image = _preprocessing(model, resolve_model_data_config(network))
    with torch.inference_mode():
        features = network.forward_features(torch.zeros(1, 3, image.size, image.size))
        dim = network.forward_head(features, pre_logits=True).shape[1]
        tokens = _tokens(network, features)
    return EncoderSpec(
        architecture=f"timm:{get_arch_name(model)}",
        weights=digest(network.state_dict()),
        activation=_activation(network),
        output="pooled",
        dim=dim,
        tokens=None if tokens is None else (tokens.shape[1], tokens.shape[2]),
        image=image,
    )


def _activation(network: torch.nn.Module) -> str:
    """Return the types of activation modules in the network, e.g. gelu, or relu+sigmoid."""
    homes = ("torch.nn.modules.activation", "timm.layers.activations")
    types = {type(module) for module in network.modules()} - {torch.nn.MultiheadAttention}
    return "+".join(sorted(each.__name__.lower() for each in types if each.__module__.startswith(homes))) or "other"


def _preprocessing(model: str, config: dict[str, Any]) -> ImagePreprocessing:
    channels, height, width = config["input_size"]
    if config["crop_mode"] not in _CROP or height != width or channels != 3:
        raise Unsupported(
            f"timm prepares images for {model} with crop mode {config['crop_mode']!r} to {channels} channels of "
            f"{height} × {width}; only {' and '.join(_CROP)} to 3 channels of a square are supported: choose a model "
            f"with that"
        )
    return ImagePreprocessing(
        size=height,
        resize=math.floor(height / config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop=_CROP[config["crop_mode"]],
    )


def _tokens(network: Any, features: Any) -> torch.Tensor | None:
    """Return the features as tokens (n, P, F), or None if their shape is neither a map nor a sequence of tokens."""
    if not isinstance(features, torch.Tensor):
        return None
    if features.ndim == 3:
        prefix = getattr(network, "num_prefix_tokens", None)
        if prefix is None and any("cls_token" in name for name, _ in network.named_parameters()):
            return None  # CoaT, PiT and VOLO have a class token but do not say where
        return features[:, prefix or 0 :]
    if features.ndim != 4:
        return None
    is_channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return features.flatten(1, 2) if is_channels_last else features.flatten(2).transpose(1, 2)


class _Tower(torch.nn.Module):
    """(n, 3, size, size) → (vectors,) or (vectors, tokens)."""

    def __init__(self, network: Any, tokens: bool) -> None:
        super().__init__()
        self.network = network
        self.tokens = tokens

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.network.forward_features(pixels)
        vectors = self.network.forward_head(features, pre_logits=True)
        tokens = _tokens(self.network, features) if self.tokens else None
        return (vectors,) if tokens is None else (vectors, tokens)


def _tower(filled: Callable[[], Any], tokens: bool) -> torch.nn.Module:
    return frozen(_Tower(filled(), tokens))
