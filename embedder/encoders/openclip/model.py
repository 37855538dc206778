"""A model of open_clip, filled with the weights of a source, and its tokeniser."""

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
from embedder.encoders.openclip.source import Source
from embedder.errors import WeightsError
from embedder.probe import TEXTS
from embedder.weights.checkpoint import State, digest, frozen, load_strictly, read_state
from embedder.weights.fetch import hub_command

_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Names of numbers that OpenAI's archives hold among the tensors."""
_POSITION_IDS = "text.transformer.embeddings.position_ids"
"""A constant 0, 1, 2, … that transformers saved among the tensors before 4.31."""


def load(source: Source) -> Any:
    """Return the whole model in fp32, filled and frozen. Raises WeightsError."""
    model = build(source)
    state = open_clip.factory.convert_state_dict(model, read_state(source.checkpoint, trusted=source.trusted))
    load_strictly(model, _fitting(state, model), str(source.checkpoint))
    return frozen(model.float())


def build(source: Source) -> Any:
    """Return the model with random weights.

    Raises WeightsError if open_clip cannot build it, or if it needs files of a hub that are not on this machine.
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
    except Exception as error:  # open_clip asserts; timm and transformers raise many types
        if hub := source.config["text_cfg"].get("hf_model_name"):
            raise WeightsError(
                f"the text tower of {source.architecture} could not be built ({error}); if its configuration is "
                f"missing, run: {hub_command(hub, 'config.json')}"
            ) from error
        raise WeightsError(f"open_clip cannot build {source.model}: {error!r}") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence open_clip's warning of random weights: they are replaced at once, or an error is raised."""
    logger = logging.getLogger()
    logger.addFilter(_is_needed)
    try:
        yield
    finally:
        logger.removeFilter(_is_needed)


def _is_needed(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("No pretrained weights loaded")


def _fitting(state: State, model: Any) -> State:
    """Return the tensors under the names and in the shapes of the built model. Older checkpoints have others."""
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
    """Return the activations that the built module has, e.g. quickgelu, gelu, relu, or gelu+relu."""
    known = {QuickGELU: "quickgelu", torch.nn.GELU: "gelu", torch.nn.ReLU: "relu", torch.nn.SiLU: "silu"}
    return "+".join(sorted({known[type(part)] for part in module.modules() if type(part) in known})) or "other"


def context_length(source: Source) -> int:
    """Return the number of ids that the tokeniser makes of a text. Towers of transformers would take more."""
    return int(source.config["text_cfg"].get("context_length", DEFAULT_CONTEXT_LENGTH))


def text_digest(source: Source, model: Any) -> str:
    """Return the sha256 over tensors, activation and tokeniser. The ids of some texts represent its vocabulary."""
    rest = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("visual.")}
    text = getattr(model, "text", None) or model.transformer
    ids = tokeniser(source)(TEXTS)[0]
    facts = [digest(rest), activation(text), hashlib.sha256(ids.tobytes()).hexdigest()]
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()


def tokeniser(source: Source) -> Tokenise:
    """Return the tokeniser. Raises WeightsError if it needs files of a hub that are not on this machine."""
    try:
        tokenizer = open_clip.get_tokenizer(source.model)
    except Exception as error:  # whatever transformers' readers and the hub's client raise
        hub = source.config["text_cfg"].get("hf_tokenizer_name")
        by_name = f". For a model by name run: {hub_command(hub, '*.json', '*.model', '*.txt')}" if hub else ""
        raise WeightsError(
            f"the tokeniser of {source.architecture} could not be read ({error}). In a folder, its files must be "
            f"beside the weights{by_name}"
        ) from error

    def tokenise(texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        return (tokenizer(list(texts)).numpy().astype(np.int64),)

    return tokenise
