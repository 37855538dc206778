"""Text vectors of the encoders of a store. An encoder is loaded when its first text comes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.multilabel.bank.labels import LabelBank
from embedder import probe, registry
from embedder.encoder import Encoder, HasBank
from embedder.errors import ProbeMismatch
from services.jobs.network import require_network
from services.settings import Settings
from store import Store


class TextSides:
    """A function from (fingerprint of a stored encoder, n texts) to raw text vectors (n, d), float32.

    The vectors are in the encoder's space of image vectors. The function checks that the encoder of that name is the
    one that made the table, and that it reproduces the stored probe.

    Raises (when it is called):
        UnknownFeatures: the store has no vectors with this fingerprint.
        NoNetwork: the vectors were imported.
        UnknownEncoder, LicenceNotAccepted, WeightsError: the encoder cannot be loaded.
        ProbeMismatch: the encoder is another one, or does not reproduce its probe.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._loaded: dict[str, Encoder] = {}

    def __call__(self, fingerprint: str, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encoder(fingerprint).embed_texts(texts)

    def bank(self, fingerprint: str) -> LabelBank | None:
        """Return the labels that the encoder knows without training; None for encoders that know none."""
        encoder = self.encoder(fingerprint)
        found = encoder.bank() if isinstance(encoder, HasBank) else None
        return None if found is None else LabelBank(found.weights, found.bias, found.texts, found.unit)

    def encoder(self, fingerprint: str) -> Encoder:
        """Return the encoder that made the table with this fingerprint; it is loaded once."""
        if fingerprint not in self._loaded:
            self._loaded[fingerprint] = self._load(fingerprint)
        return self._loaded[fingerprint]

    def _load(self, fingerprint: str) -> Encoder:
        features = self._store.features(fingerprint)
        require_network(self._store, fingerprint)
        found = registry.load(features.name, **self._settings.loading)
        if found.spec.fingerprint != fingerprint:
            raise ProbeMismatch(
                f"encoder {features.name} has the fingerprint {found.spec.fingerprint[:12]}, but its stored vectors "
                f"have {fingerprint[:12]}; restore the encoder that made them, or run a backfill with this one"
            )
        probe.check(found, features.probe)
        return found


def text_sides(store: Store, settings: Settings) -> TextSides:
    """Return the text sides of the encoders of a store, see `TextSides`."""
    return TextSides(store, settings)
