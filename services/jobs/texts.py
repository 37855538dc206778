"""Text vectors of the encoders of a store. An encoder is loaded when its first text comes."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embedder import probe, registry
from embedder.encoder import Encoder
from embedder.errors import ProbeMismatch
from services.jobs.network import require_network
from services.settings import Settings
from store import Store


def text_sides(store: Store, settings: Settings) -> Callable[[str, Sequence[str]], NDArray[np.float32]]:
    """Return a function from (fingerprint of a stored encoder, n texts) to raw text vectors (n, d), float32.

    The vectors are in the encoder's space of image vectors. The function checks that the encoder of that name is the
    one that made the table, and that it reproduces the stored probe.

    Raises (the returned function):
        UnknownFeatures: the store has no vectors with this fingerprint.
        NoNetwork: the vectors were imported.
        UnknownEncoder, LicenceNotAccepted, WeightsError: the encoder cannot be loaded.
        ProbeMismatch: the encoder is another one, or does not reproduce its probe.
    """

    @cache
    def encoder(fingerprint: str) -> Encoder:
        features = store.features(fingerprint)
        require_network(store, fingerprint)
        found = registry.load(features.name, **settings.loading)
        if found.spec.fingerprint != fingerprint:
            raise ProbeMismatch(
                f"encoder {features.name} has the fingerprint {found.spec.fingerprint[:12]}, but its stored vectors "
                f"have {fingerprint[:12]}; restore the encoder that made them, or run a backfill with this one"
            )
        probe.check(found, features.probe)
        return found

    return lambda fingerprint, texts: encoder(fingerprint).embed_texts(texts)
