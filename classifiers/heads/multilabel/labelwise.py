"""One-vs-rest logistic regression: the baseline that every other head for any number of labels has to beat."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.base import Meta
from classifiers.heads.linear import LinearHead
from classifiers.heads.multilabel.base import LabelsHead, Thresholds
from classifiers.heads.transform import Transform


class LabelwiseHead(LabelsHead):
    """Linear scores z Wᵀ + b of the transformed vector z, with one sigmoid per label.

    Arrays in float32: W (L, m), b (L,), those of the transform as in `LinearHead`, and the thresholds.
    """

    kind = "labelwise"
    offset = "b"

    def __init__(
        self,
        classes: Sequence[str],
        W: NDArray[np.float32],
        b: NDArray[np.float32],
        transform: Transform | None = None,
        thresholds: Thresholds | None = None,
        temperature: float = 1.0,
        chosen: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a head. `chosen` are parameters that training chose, as in `LinearHead`."""
        super().__init__(classes, thresholds, temperature)
        self._linear = LinearHead(classes, W, b, transform, chosen=chosen)

    @property
    def dim(self) -> int:
        return self._linear.dim

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._linear.score(X)

    def settings(self) -> dict[str, Any]:
        return self._linear.settings()

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._linear.arrays() | self.thresholds.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        thresholds, rest = Thresholds.split(arrays, len(meta["classes"]))
        linear = LinearHead.from_arrays(rest, meta)
        temperature = meta["temperature"]
        return cls(meta["classes"], linear.W, linear.b, linear.transform, thresholds, temperature, linear.chosen)
