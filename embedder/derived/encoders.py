"""Derived encoders: a parent encoder, then an adapter on its vectors, or a condenser on its tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder import probe
from embedder.derived.adapter import Adapter
from embedder.derived.condenser import Condenser
from embedder.derived.stored import StoredAdapter
from embedder.encoder import Embedding, Encoder
from embedder.media import Media
from embedder.spec import EncoderSpec, Modality


class _Derived:
    """What is the parent's in both: engine and preparing."""

    def __init__(self, parent: Encoder, stored: StoredAdapter) -> None:
        self.name = f"{parent.name}+{stored.folder}"
        self.spec: EncoderSpec = stored.spec(parent.spec)
        self.backend = parent.backend
        self.parent = parent

    def prepare(self, media: Media) -> NDArray[Any]:
        return self.parent.prepare(media)


class AdaptedEncoder(_Derived):
    """Implements `embedder.encoder.Encoder`: takes what the parent takes but texts, gives no tokens.

    Whatever the parent's engine, NumPy adapts.

    Attributes:
        adapter: takes the parent's vectors; stored ones will do, see `spec.parent`.
    """

    def __init__(self, parent: Encoder, stored: StoredAdapter) -> None:
        """Raises WeightsError when the adapter was not learned on this parent's vectors."""
        assert isinstance(stored.adapter, Adapter)  # noqa: S101  # see `derive`
        super().__init__(parent, stored)
        self.adapter = stored.adapter

    def embed(self, inputs: NDArray[Any], *, modality: Modality = "image", tokens: bool = False) -> Embedding:
        if tokens:
            raise ValueError(f"{self.name} gives no tokens; ask for vectors only, or its parent {self.parent.name}")
        return Embedding(self.adapter(self.parent.embed(inputs, modality=modality).vectors))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise ValueError(
            f"{self.name} was adapted on images and takes no text, {len(texts)} were given; "
            f"ask its parent {self.parent.name}"
        )

    def reference_probe(self) -> NDArray[np.float32]:
        return adapted_probe(self.parent.reference_probe(), self.parent.spec, self.adapter)


class CondensedEncoder(_Derived):
    """Implements `embedder.encoder.Encoder`: all as the parent, but that tokens are fewer or narrower.

    Attributes:
        condenser: takes the parent's tokens; stored ones will do, see `spec.parent`.
    """

    def __init__(self, parent: Encoder, stored: StoredAdapter) -> None:
        """Raises WeightsError when the condenser was not learned on this parent's tokens."""
        assert isinstance(stored.adapter, Condenser)  # noqa: S101  # see `derive`
        super().__init__(parent, stored)
        self.condenser = stored.adapter

    def embed(self, inputs: NDArray[Any], *, modality: Modality = "image", tokens: bool = False) -> Embedding:
        whole = self.parent.embed(inputs, modality=modality, tokens=tokens)
        return Embedding(whole.vectors, None if whole.tokens is None else self.condenser(whole.tokens))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.parent.embed_texts(texts)

    def reference_probe(self) -> NDArray[np.float32]:
        return self.parent.reference_probe()


def derive(parent: Encoder, stored: StoredAdapter) -> AdaptedEncoder | CondensedEncoder:
    """The derived encoder. Raises WeightsError for another parent than the adapter was learned on."""
    return (AdaptedEncoder if isinstance(stored.adapter, Adapter) else CondensedEncoder)(parent, stored)


def adapted_probe(parent_probe: NDArray[np.float32], parent: EncoderSpec, adapter: Adapter) -> NDArray[np.float32]:
    """Reference vectors of the parent (m, d) → those of the derived encoder: the assets' alone, adapted."""
    return adapter(parent_probe[: probe.assets(parent)])
