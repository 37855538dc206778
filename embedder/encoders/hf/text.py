"""The text side of a model of transformers: its tokeniser, and the identity of all that makes a text's vector."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import transformers
from numpy.typing import NDArray
from tokenizers import normalizers

from embedder.encoder import Port, Tokenise
from embedder.encoders.hf.families import TextTower
from embedder.encoders.hf.model import Source
from embedder.errors import WeightsError
from embedder.probe import TEXTS

_IDS, _MASK = "input_ids", "attention_mask"


def tokeniser(source: Source, tower: TextTower) -> Tokenise:
    """Return the tokeniser: n texts → ids, and the mask of padding if the model's own tokeniser gives one.

    Raises WeightsError if the folder has no tokeniser that can be read without code of its own.
    """
    library = _library(source, lower=tower.lower)
    names = [name for name in (_IDS, _MASK) if name in library.model_input_names]
    length = source.tower_config(tower).max_position_embeddings - tower.reserved
    length = min(length, library.model_max_length)

    def tokenise(texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        found = library(
            list(texts),
            padding="max_length" if tower.padded else "longest",
            max_length=length,
            truncation=True,
            return_tensors="np",
        )
        return tuple(np.asarray(found[name], np.int64) for name in names)

    return tokenise


def _library(source: Source, *, lower: bool) -> Any:
    """Return transformers' tokeniser of the folder.

    ``tokenizer.json`` is read as it is. transformers 5 would build some classes anew from its vocabulary, and lose
    steps that only the file has.

    Args:
        lower: make texts lower case first. Of SigLIP 2's tokenisers, only transformers' class does so for certain.
    """
    folder, options = source.folder, {"local_files_only": True, "trust_remote_code": False}
    try:
        if not (folder / "tokenizer.json").is_file():
            return transformers.AutoTokenizer.from_pretrained(folder, config=source.config, **options)
        library = transformers.PreTrainedTokenizerFast.from_pretrained(folder, **options)
        if lower:
            own = library.backend_tokenizer
            steps = [own.normalizer] if own.normalizer else []
            own.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])
        return library
    except Exception as error:  # transformers' readers raise many types
        raise WeightsError(
            f"the tokeniser in {folder} could not be read ({error}); its files (tokenizer.json and "
            "tokenizer_config.json) must be beside the weights, and its library must be installed"
        ) from error


def ports(tokenise: Tokenise, tower: TextTower) -> tuple[Port, ...]:
    """Return the inputs of the text network."""
    return tuple(Port((ids.shape[1] if tower.padded else -1,), "int64") for ids in tokenise(TEXTS))


def digest(tensors: str, facts: str, tokenise: Tokenise) -> str:
    """Return the sha256 over the digest of the tensors, the facts that these do not show, and the tokeniser.

    The ids of some texts represent the tokeniser's vocabulary.
    """
    ids = [hashlib.sha256(each.tobytes()).hexdigest() for each in tokenise(TEXTS)]
    return hashlib.sha256(" ".join([tensors, facts, *ids]).encode()).hexdigest()
