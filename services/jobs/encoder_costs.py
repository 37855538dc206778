"""Cost of an asset with each encoder of a store: the time that this machine takes, or else the width of the vectors."""

import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from embedder import probe
from embedder.encoder import Encoder
from embedder.errors import LicenceNotAccepted, UnknownEncoder, WeightsError
from services.jobs.texts import TextSides
from store import Store

MILLISECONDS, COLUMNS = "ms on this machine", "columns"
"""Units of the costs."""

ROUNDS = 5
"""Number of times that the probe's assets are embedded; the fastest round counts."""


def encoder_costs(store: Store, encoders: Sequence[str], sides: TextSides | None) -> tuple[list[float], str]:
    """Return the cost of each encoder and the unit: `MILLISECONDS`, or `COLUMNS` if one of them cannot be loaded.

    Args:
        sides: loads the encoders; None to load none.

    Raises UnknownFeatures with the names that exist; ProbeMismatch if an encoder does not reproduce its probe.
    """
    tables = [store.features(name) for name in encoders]
    if sides is not None:
        with suppress(UnknownEncoder, WeightsError, LicenceNotAccepted):
            return [milliseconds(sides.encoder(table.fingerprint)) for table in tables], MILLISECONDS
    return [float(table.spec.dim) for table in tables], COLUMNS


def milliseconds(encoder: Encoder) -> float:
    """Return the time to prepare and embed one asset of the encoder's first modality, in batches, in ms."""
    modality = encoder.spec.modalities[0]
    assets = probe.samples(modality)

    def seconds() -> float:
        start = time.perf_counter()
        encoder.embed(np.stack([encoder.prepare(each) for each in assets]), modality=modality)
        return time.perf_counter() - start

    return 1000 * min(seconds() for _ in range(ROUNDS)) / len(assets)
