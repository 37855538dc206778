"""open_clip's model, filled with a source's weights, and its tokeniser."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from open_clip.transformer import QuickGELU

from embedder.encoder import Tokenise
from embedder.encoders.openclip import fetch
from embedder.encoders.openclip.source import Source
from embedder.errors import WeightsError
from embedder.probe import TEXTS
from embedder.weights import checkpoint as weights

_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives carry among the tensors."""
_POSITION_IDS = "text.transformer.embeddings.position_ids"
"""A constant 0, 1, 2, … that transformers saved among the tensors before 4.31."""


def load(source: Source) -> Any:
    """The whole model in fp32, filled, frozen. Raises WeightsError."""
    model = build(source)
    state = open_clip.factory.convert_state_dict(model, weights.read(source.checkpoint))
    weights.load_strictly(model, _fitting(state, model), str(source.checkpoint))
    return weights.frozen(model.float())


def build(source: Source) -> Any:
    """The model with random weights.

    Raises WeightsError for a record that open_clip cannot build, or that needs files of a hub which are not here.
    """
    overrides = {"force_quick_gelu": True} if source.quick_gelu else {}
    try:
        with _quietly():
            return open_clip.create_model(
                source.model,
                pretrained=None,
                load_weights=False,
                pretrained_text=False,
                force_preprocess_cfg=source.preprocessing,
                **overrides,
            )
    except Exception as error:  # open_clip asserts, timm and transformers raise what they like
        if hub := source.config["text_cfg"].get("hf_model_name"):
            raise WeightsError(
                f"the text tower of {source.architecture} could not be built ({error}); where its record is missing "
                f"run: {fetch.parts(hub, 'config.json')}"
            ) from error
        raise WeightsError(f"open_clip cannot build {source.model}: {error!r}") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without open_clip's warning of random weights: they are replaced at once, or it is an error."""
    logger = logging.getLogger()
    logger.addFilter(_is_needed)
    try:
        yield
    finally:
        logger.removeFilter(_is_needed)


def _is_needed(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("No pretrained weights loaded")


def _fitting(state: weights.State, model: Any) -> weights.State:
    """Tensors under the names and in the forms of the built model, which checkpoints of several ages lack."""
    state = {name: tensor for name, tensor in state.items() if name not in _EXTRAS}
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    own = model.state_dict()
    if _POSITION_IDS not in own:
        state.pop(_POSITION_IDS, None)
    for scalar in {"logit_scale", "logit_bias"} & state.keys() & own.keys():
        if state[scalar].numel() == 1:
            state[scalar] = state[scalar].reshape(own[scalar].shape)
    return state


def activation(module: torch.nn.Module) -> str:
    """What the built module really has, e.g. quickgelu, gelu, relu, or gelu+relu."""
    known = {QuickGELU: "quickgelu", torch.nn.GELU: "gelu", torch.nn.ReLU: "relu", torch.nn.SiLU: "silu"}
    return "+".join(sorted({known[type(part)] for part in module.modules() if type(part) in known})) or "other"


def context_length(source: Source) -> int:
    """How many ids the tokeniser makes of a text; towers of transformers would take more."""
    return int(source.config["text_cfg"].get("context_length", DEFAULT_CONTEXT_LENGTH))


def text_digest(source: Source, model: Any) -> str:
    """Over tensors, activation and tokeniser: what the tokeniser makes of some texts stands for its vocabulary."""
    rest = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("visual.")}
    text = getattr(model, "text", None) or model.transformer
    ids = tokeniser(source)(TEXTS)[0]
    facts = [weights.digest(rest), activation(text), hashlib.sha256(ids.tobytes()).hexdigest()]
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()


def tokeniser(source: Source) -> Tokenise:
    """Raises WeightsError when it needs files of a hub which are not here."""
    try:
        tokenizer = open_clip.get_tokenizer(source.model)
    except Exception as error:  # transformers raises whatever its readers and the hub's client do
        hub = source.config["text_cfg"].get("hf_tokenizer_name")
        by_name = f", a model by name those of the hub: {fetch.parts(hub, '*.json', '*.model', '*.txt')}" if hub else ""
        raise WeightsError(
            f"the tokeniser of {source.architecture} could not be read ({error}); a folder needs its files beside the "
            f"weights{by_name}"
        ) from error

    def tokenise(texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        return (tokenizer(list(texts)).numpy().astype(np.int64),)

    return tokenise
