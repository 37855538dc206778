"""Any CLIP-like model that open_clip knows: ``openclip/<model>/<pretrained>``, or ``@<checkpoint file or folder>``.

open_clip's configuration describes a model; no model is named here. Vectors are projected and raw (not normalised), or
pooled; tokens are the patch tokens of the last layer after the final norm and before the projection, or those of the
penultimate layer: see `embedder.encoders.openclip.output`. Preprocessing is open_clip's own.

OpenAI's weights need QuickGELU (Hendrycks & Gimpel's x·sigmoid(1.702 x)). With GELU they load without complaint and
give wrong vectors. A pretrained tag and a folder's configuration say which activation is built. A bare checkpoint does
not say, so its name must: ``openclip/ViT-B-32-quickgelu@file``.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from embedder.encoder import Blueprint, Encoder, Graph, Port, image_blueprint
from embedder.encoders.openclip import model as clip
from embedder.encoders.openclip import output, source, towers, training
from embedder.encoders.openclip.output import Output
from embedder.encoders.openclip.source import Source
from embedder.engines.graph_encoder import assemble
from embedder.errors import Unsupported
from embedder.spec import EncoderSpec, ImagePreprocessing
from embedder.weights.checkpoint import digest, frozen

_LIBRARIES = ("open_clip_torch", "timm", "transformers")


def load(name: str, *, backend: str, cache_dir: Path, threads: int | None, trust_checkpoint: bool = False) -> Encoder:
    """Return the encoder of that name. Arguments and errors as for `embedder.registry.load`."""
    return assemble(name, blueprint(name, trusted=trust_checkpoint), backend, cache_dir, threads)


def blueprint(name: str, *, trusted: bool = False) -> Blueprint:
    """Return the blueprint of an encoder's whole name. Reads the weights, because they are part of its identity.

    Args:
        trusted: see `embedder.weights.checkpoint.read_state`.

    Raises UnknownEncoder for a model, tag or output that does not exist, WeightsError for weights that are missing,
    unreadable or of another architecture, Unsupported for preprocessing or an output that cannot be represented.
    """
    rest, wanted = output.split(name)
    found = replace(source.find(rest), trusted=trusted)
    model = clip.load(found)
    spec = describe(found, model, wanted)
    plan = image_blueprint(spec, _LIBRARIES, partial(_image_tower, found, wanted))
    plan = replace(plan, trainable=partial(training.trainable, found, name, spec))
    if not spec.text:
        return plan
    text = Graph(
        key=f"{spec.fingerprint} text",
        libraries=_LIBRARIES,
        build=partial(_text_tower, found),
        ports=(Port((clip.context_length(found),), "int64"),),
    )
    return replace(plan, text=text, tokeniser=partial(clip.tokeniser, found))


def describe(found: Source, model: Any, wanted: Output) -> EncoderSpec:
    """Return the spec of a filled model. Changes the model's image tower.

    Raises Unsupported if a spec cannot represent the model.
    """
    visual = model.visual
    image = _preprocessing(visual.preprocess_cfg, found.architecture)
    weights, activation = digest(visual.state_dict()), clip.activation(visual)
    text = None if wanted.pooled else clip.text_digest(found, model)
    dim, tokens = _shapes(visual, wanted, image.size, found.architecture)
    return EncoderSpec(
        architecture=found.architecture,
        weights=weights,
        activation=activation,
        output=str(wanted),
        dim=dim,
        tokens=tokens,
        image=image,
        text=text,
    )


def _shapes(visual: Any, wanted: Output, size: int, architecture: str) -> tuple[int, tuple[int, int] | None]:
    """Return the output's d, and (P, F) or None. The tower runs on torch's meta device, which computes shapes only."""
    with_tokens = towers.gives_tokens(visual, wanted)
    try:
        tower = towers.image(visual, wanted, tokens=with_tokens).to("meta")
    except ValueError as error:
        raise Unsupported(f"{architecture} cannot give this output: {error}") from error
    with torch.inference_mode():
        vectors, *tokens = tower(torch.empty(1, 3, size, size, device="meta"))
    return int(vectors.shape[1]), (int(tokens[0].shape[1]), int(tokens[0].shape[2])) if tokens else None


def _preprocessing(config: dict[str, Any], architecture: str) -> ImagePreprocessing:
    """Convert open_clip's preprocessing. Raises Unsupported for padding and for inputs that are not square."""
    crops = {"shortest": "centre", "squash": "squash"}
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if config["resize_mode"] not in crops or height != width:
        raise Unsupported(
            f"images for {architecture} are prepared with resize mode {config['resize_mode']!r} to {height} × {width}; "
            f"{' and '.join(crops)} to a square are supported: choose a model with one of them"
        )
    return ImagePreprocessing(
        size=height,
        resize=height,
        # open_clip uses bicubic for every word but "bilinear"
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop=crops[config["resize_mode"]],
    )


def _image_tower(found: Source, wanted: Output, tokens: bool) -> torch.nn.Module:
    return frozen(towers.image(clip.load(found).visual, wanted, tokens=tokens))


def _text_tower(found: Source) -> torch.nn.Module:
    return frozen(towers.Text(clip.load(found)))
