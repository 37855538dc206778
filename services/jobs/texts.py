"""The text sides of the encoders whose vectors a store holds, loaded when first asked."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embedder import probe, registry
from embedder.encoder import Encoder
from embedder.errors import ProbeMismatch
from services.settings import Settings
from store import Store


def text_sides(store: Store, settings: Settings) -> Callable[[str, Sequence[str]], NDArray[np.float32]]:
    """(fingerprint of an encoder in the store, n texts) → their vectors (n, d) in the space of its images, raw.

    The encoder has to be the one that made the table, and to give the vectors of its probe. The function raises
    UnknownFeatures, UnknownEncoder, LicenceNotAccepted, WeightsError, ProbeMismatch.
    """

    @cache
    def encoder(fingerprint: str) -> Encoder:
        features = store.features(fingerprint)
        found = registry.load(features.name, **settings.loading)
        if found.spec.fingerprint != fingerprint:
            raise ProbeMismatch(
                f"{features.name} has fingerprint {found.spec.fingerprint[:12]} here, its stored vectors "
                f"{fingerprint[:12]}: restore the encoder that made them, or backfill into a new table"
            )
        probe.check(found, features.probe)
        return found

    return lambda fingerprint, texts: encoder(fingerprint).embed_texts(texts)
