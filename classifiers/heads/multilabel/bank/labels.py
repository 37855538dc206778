"""A label bank: labels that an encoder knows without training rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.transform import unit_rows

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelBank:
    """Linear scores of K labels for a vector or a token, and the vectors of the labels' texts.

    For lite0 these are the 1,000 classes of its own ImageNet classifier. For CLIP they are zero-shot scores.

    Attributes:
        weights: (K, F).
        bias: (K,).
        text: text vectors of norm 1, (K, F).
        unit: True if vectors and tokens are scaled to norm 1 first, as zero-shot scores need.
    """

    weights: Array
    bias: Array
    text: Array
    unit: bool = False

    def logits(self, vectors: Array) -> Array:
        """Return the scores (…, K) of vectors or tokens (…, F)."""
        rows = vectors.reshape(-1, vectors.shape[-1])
        scores = (unit_rows(rows) if self.unit else rows) @ self.weights.T + self.bias
        return np.asarray(scores.reshape(*vectors.shape[:-1], -1))
