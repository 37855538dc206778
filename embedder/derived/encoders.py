"""Derived encoders: a parent encoder, then an adapter on its vectors or a condenser on its tokens."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder import probe
from embedder.derived.stored import StoredAdapter
from embedder.encoder import (
    Embedding,
    Encoder,
    HasJpegDecoder,
    HasNetworks,
    HasPrecisions,
    JpegDecoder,
    Network,
    Pace,
    pace_of,
)
from embedder.errors import ExportFailed
from embedder.media import Limits, Media
from embedder.spec import EncoderSpec, Modality


class DerivedEncoder:
    """Implements `embedder.encoder.Encoder`. The parent prepares and embeds; NumPy changes its vectors or tokens.

    Attributes:
        adapter: an `Adapter`, after which vectors are adapted and there are no tokens and no texts, or a `Condenser`,
            after which tokens are fewer or narrower. It also takes the parent's stored vectors and tokens, which
            `spec.parent` identifies.
    """

    def __init__(self, parent: Encoder, stored: StoredAdapter) -> None:
        """Raises WeightsError if the adapter was not learned on this parent's vectors or tokens."""
        self.name = f"{parent.name}+{stored.folder}"
        self.spec: EncoderSpec = stored.spec(parent.spec)
        self.parent = parent
        self.adapter = stored.adapter
        self._stored = stored

    @property
    def backend(self) -> str:
        return self.parent.backend

    def pace(self, modality: Modality) -> Pace:
        return pace_of(self.parent, modality)

    def prepare(self, media: Media) -> NDArray[Any]:
        return self.parent.prepare(media)

    def embed(self, inputs: NDArray[Any], *, modality: Modality = "image", tokens: bool = False) -> Embedding:
        if tokens and self.spec.tokens is None:
            raise ValueError(f"{self.name} gives no tokens; ask for vectors only, or use its parent {self.parent.name}")
        whole = self.parent.embed(inputs, modality=modality, tokens=tokens)
        vectors = self.adapter.change_vectors(whole.vectors)
        return Embedding(vectors, None if whole.tokens is None else self.adapter.change_tokens(whole.tokens))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.spec.text is None:
            raise ValueError(f"{self.name} takes no text ({len(texts)} given); use its parent {self.parent.name}")
        return self.parent.embed_texts(texts)

    def reference_probe(self) -> NDArray[np.float32]:
        return self.adapter.change_probe(self.parent.reference_probe(), probe.assets(self.parent.spec))

    def jpeg_decoder(self, limits: Limits, user: Encoder | None = None) -> JpegDecoder | None:
        return self.parent.jpeg_decoder(limits, user or self) if isinstance(self.parent, HasJpegDecoder) else None

    def variants(self) -> Mapping[str, Callable[[], Encoder]]:
        makers = self.parent.variants() if isinstance(self.parent, HasPrecisions) else {}
        return {precision: partial(_derive, make, self._stored) for precision, make in makers.items()}

    def networks(self) -> Mapping[str, Network]:
        if not isinstance(self.parent, HasNetworks):
            raise ExportFailed(f"{self.parent.name} is computed by code, not by a network that ONNX could hold")
        return self.adapter.change_networks(self.parent.networks())


def _derive(make: Callable[[], Encoder], stored: StoredAdapter) -> Encoder:
    return DerivedEncoder(make(), stored)
