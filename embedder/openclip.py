"""Any CLIP-like model that open_clip knows, by ``<model>/<pretrained>`` or ``<model>@<checkpoint file>``.

Vectors are projected and raw (not normalised). Tokens are the patch tokens of the last layer after the final norm,
before the projection. Preprocessing is open_clip's own. OpenAI's weights need QuickGELU (Hendrycks & Gimpel's
x·sigmoid(1.702 x)): with GELU they load without complaint and give wrong vectors. A pretrained tag says which it
needs, and that is what is built; a bare checkpoint does not say, so its name does: ``ViT-B-32-quickgelu@file``.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.transformer import QuickGELU

from embedder import weights
from embedder.encoder import Blueprint, Graph, Port, Tokenise
from embedder.errors import UnknownEncoder, WeightsError
from embedder.probe import TEXTS
from embedder.spec import EncoderSpec, ImagePreprocessing

_LIBRARIES = ("open_clip_torch", "timm")
_QUICK = "-quickgelu"


@dataclass(frozen=True, slots=True)
class Source:
    """Which architecture is filled from which file. `tag` is open_clip's record of the weights, empty for a file."""

    model: str
    checkpoint: Path
    quick_gelu: bool
    tag: dict[str, Any]


def blueprint(name: str) -> Blueprint:
    """The encoder ``<model>/<pretrained>`` or ``<model>@<file>``. Reads the weights: they are part of its identity.

    Raises UnknownEncoder for a model or tag that open_clip does not know, WeightsError for weights that are missing,
    unreadable or of another architecture, ValueError for preprocessing that cannot be represented.
    """
    source = _source(name)
    model = _load(source)
    spec = _spec(source, model)
    image = Port((spec.image.size, spec.image.size, 3), "uint8") if spec.image else None
    assert image is not None  # noqa: S101  # _spec always sets it

    def graph(part: str, ports: tuple[Port, ...], build: Callable[[], torch.nn.Module]) -> Graph:
        normalise = None if part == "text" else spec.image
        key = f"{spec.fingerprint} {part}"
        return Graph(key=key, libraries=_LIBRARIES, build=build, ports=ports, normalise=normalise)

    return Blueprint(
        spec=spec,
        image=graph("image", (image,), partial(_image_tower, source, tokens=False)),
        image_tokens=graph("image and tokens", (image,), partial(_image_tower, source, tokens=True)),
        text=graph("text", (Port((_context_length(model),), "int64"),), partial(_text_tower, source)),
        tokeniser=partial(_tokeniser, source.model),
    )


def _source(name: str) -> Source:
    model, at, path = name.partition("@")
    if at:
        return Source(_known(model, name), Path(path).expanduser(), model.endswith(_QUICK), {})
    model, _, tag = name.partition("/")
    _known(model, name)
    record = get_pretrained_cfg(model, tag)
    if not record:
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise UnknownEncoder(f"openclip/{name}", [f"openclip/{model}/{t}" for t in tags] or [f"openclip/{model}@FILE"])
    try:
        checkpoint = Path(download_pretrained(record))
    except Exception as error:  # whatever the hub, its client or the network raises
        raise WeightsError(_missing(name, model, record, error)) from error
    return Source(model, checkpoint, bool(record.get("quick_gelu")), record)


def _known(model: str, name: str) -> str:
    if open_clip.get_model_config(model) is None:
        raise UnknownEncoder(f"openclip/{name}", [f"openclip/{known}/…" for known in open_clip.list_models()])
    return model


def _missing(name: str, model: str, record: dict[str, Any], error: Exception) -> str:
    repository = os.path.split(record.get("hf_hub", ""))[0]
    fetch = f"run: hf download {repository}" if repository else f"download {record.get('url')}"
    return (
        f"the weights of openclip/{name} are not on this machine and could not be fetched ({error}). On a machine with "
        f"internet access {fetch}; then copy the cache folder here, or give the file as openclip/{model}@FILE"
    )


def _load(source: Source) -> Any:
    """The whole model in fp32, filled, frozen. Raises WeightsError."""
    overrides = {"force_quick_gelu": True} if source.quick_gelu else {}
    logger = logging.getLogger()
    logger.addFilter(_is_needless)
    try:
        model = open_clip.create_model(
            source.model, pretrained=None, pretrained_text=False, force_preprocess_cfg=source.tag, **overrides
        )
    finally:
        logger.removeFilter(_is_needless)
    state = open_clip.factory.convert_state_dict(model, weights.read(source.checkpoint))
    for extra in ("input_resolution", "context_length", "vocab_size"):
        state.pop(extra, None)  # OpenAI's archives carry these numbers among the tensors
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    weights.load_strictly(model, state, str(source.checkpoint))
    return weights.frozen(model.float())


def _is_needless(record: logging.LogRecord) -> bool:
    """False for open_clip's warning of random weights: they are replaced at once, or it is an error."""
    return not record.getMessage().startswith("No pretrained weights loaded")


def _spec(source: Source, model: Any) -> EncoderSpec:
    visual = model.visual
    return EncoderSpec(
        architecture=f"open_clip:{source.model.removesuffix(_QUICK)}",
        weights=weights.digest(visual.state_dict()),
        activation=_activation(visual),
        output="projected",
        dim=_dim(source.model),
        tokens=_token_shape(visual),
        image=_preprocessing(visual.preprocess_cfg, source.model),
        text=_text_digest(source, model),
    )


def _activation(module: torch.nn.Module) -> str:
    """What the built module really has, e.g. quickgelu, gelu, relu, or gelu+relu."""
    known = {QuickGELU: "quickgelu", torch.nn.GELU: "gelu", torch.nn.ReLU: "relu", torch.nn.SiLU: "silu"}
    return "+".join(sorted({known[type(part)] for part in module.modules() if type(part) in known})) or "other"


def _dim(model: str) -> int:
    return int(open_clip.get_model_config(model)["embed_dim"])


def _token_shape(visual: Any) -> tuple[int, int] | None:
    """(P, F) of a tower that can give its patch tokens; None for ResNets and timm towers."""
    if not hasattr(visual, "output_tokens"):
        return None
    with _with_tokens(visual), torch.inference_mode():
        tokens = visual(torch.zeros(1, 3, *visual.image_size))[1]
    return int(tokens.shape[1]), int(tokens.shape[2])


@contextmanager
def _with_tokens(visual: Any) -> Iterator[None]:
    before = visual.output_tokens
    visual.output_tokens = True
    try:
        yield
    finally:
        visual.output_tokens = before


def _preprocessing(config: dict[str, Any], model: str) -> ImagePreprocessing:
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if config["resize_mode"] != "shortest" or height != width:
        raise ValueError(
            f"open_clip prepares images for {model} with resize mode {config['resize_mode']!r} to {height} × {width}; "
            f"only 'shortest' to a square is supported: choose a model with that"
        )
    # open_clip takes anything but bilinear for bicubic
    interpolation = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return ImagePreprocessing(size=height, resize=height, interpolation=interpolation, mean=mean, std=std)


def _context_length(model: Any) -> int:
    return int(model.context_length if hasattr(model, "context_length") else model.text.context_length)


def _text_digest(source: Source, model: Any) -> str:
    """Over tensors, activation and tokeniser: what the tokeniser makes of some texts stands for its vocabulary."""
    rest = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("visual.")}
    text = getattr(model, "text", None) or model.transformer
    ids = _tokeniser(source.model)(TEXTS)[0]
    parts = [weights.digest(rest), _activation(text), hashlib.sha256(ids.tobytes()).hexdigest()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _tokeniser(model: str) -> Tokenise:
    tokenizer = open_clip.get_tokenizer(model)

    def tokenise(texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        return (tokenizer(list(texts)).numpy().astype(np.int64),)

    return tokenise


class _Image(torch.nn.Module):
    """(n, 3, size, size) → (vectors,) or (vectors, tokens)."""

    def __init__(self, visual: Any, tokens: bool) -> None:
        super().__init__()
        self.visual = visual
        if hasattr(visual, "output_tokens"):
            visual.output_tokens = tokens

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.visual(pixels)
        return found if isinstance(found, tuple) else (found,)


class _Text(torch.nn.Module):
    """(n, context) ids → (vectors,)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        del model.visual

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.model.encode_text(ids, normalize=False),)


def _image_tower(source: Source, *, tokens: bool) -> torch.nn.Module:
    return weights.frozen(_Image(_load(source).visual, tokens))


def _text_tower(source: Source) -> torch.nn.Module:
    return weights.frozen(_Text(_load(source)))
