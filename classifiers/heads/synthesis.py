"""Directions of classes that are composed of a label bank's classifiers, for classes that are known by texts alone.

Source: synthesised classifiers (Changpinyo et al. 2016, arXiv 1603.00550), with texts in place of attributes. It is
also what ConSE (arXiv 1312.5650) becomes at a high temperature of the bank's probabilities: linear in the vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.bank.members import softmax

Array = NDArray[np.float32]

SHARPNESS = 1 / 0.07
"""Factor of the cosines between the texts of classes and of the bank's labels, before their softmax. Of caltech99,
flowers5 and cifar10_10k each gets this value from the training rows of all other tasks, and clothing10 gets 1 / 0.1
(`benchmarks/label_bank.py`)."""

SMALLEST = np.float32(1e-9)
"""Added to deviations, so that a constant score is divided by something."""

ARRAYS = ("bank_weights", "bank_text", "reference")


@dataclass(frozen=True, slots=True)
class Synthesis:
    """Adds classifiers composed of a label bank to the text vectors of classes.

    Attributes:
        weights: the bank's classifiers, less their mean, (B, d).
        text: texts of the bank's labels, norm 1, (B, d).
        reference: some training vectors at unit norm, (r, d), on which both parts are brought to one scale.
        weight: w ≥ 0, how much the bank counts.
    """

    weights: Array
    text: Array
    reference: Array
    weight: float

    @classmethod
    def of(cls, bank: LabelBank, reference: NDArray[Any], weight: float) -> Self:
        """Take a bank and training vectors at unit norm, (r, d). The bank's biases change no difference of rows."""
        weights = np.ascontiguousarray(bank.weights - bank.weights.mean(axis=0))
        return cls(weights, np.ascontiguousarray(bank.text), reference.astype(np.float32, order="C"), weight)

    def directions(self, text: NDArray[Any]) -> Array:
        """Return t + w · σ · v / s for texts t of norm 1, (m, d).

        v is the mean of the bank's classifiers, weighted by softmax(`SHARPNESS` · cosine of the texts). s is the
        deviation of v·u over the reference rows u, class by class, and σ the mean deviation of t·u.
        """
        t = text.astype(np.float32)
        v = softmax(np.float32(SHARPNESS) * (t @ self.text.T)) @ self.weights
        deviation = (self.reference @ v.T).std(axis=0) + SMALLEST
        scale = np.float32(self.weight) * (self.reference @ t.T).std(axis=0).mean() / deviation
        return np.asarray(t + scale[:, None] * v)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of a head, by the names of `ARRAYS`."""
        return dict(zip(ARRAYS, (self.weights, self.text, self.reference), strict=True))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], weight: float) -> Self | None:
        """Return the synthesis of a head; None for a head without one, whose weight is 0."""
        weights, text, reference = (arrays.get(name) for name in ARRAYS)
        if not weight or weights is None or text is None or reference is None:
            return None
        return cls(weights, text, reference, weight)

    def settings(self) -> dict[str, float]:
        """Return what a head keeps beside the arrays: bank_weight, and reference, the number of reference rows."""
        return {"bank_weight": self.weight, "reference": len(self.reference)}


def shapes_of(
    arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], width: int
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shapes that the arrays of a head must have; none without a bank. B is read from them."""
    if not settings.get("bank_weight", 0.0):
        return {}
    labels = len(arrays["bank_text"]) if "bank_text" in arrays else 0
    sizes = dict(zip(ARRAYS, (labels, labels, int(settings["reference"])), strict=True))
    return {name: ((size, width), "float32") for name, size in sizes.items()}
