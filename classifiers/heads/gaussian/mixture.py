"""The mixture head: several components per class, each a quadratic function of the vector, such as a Gaussian."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.base import Head, Meta, require_shapes
from classifiers.heads.gaussian.quadratic import Quadratic, of_classes
from classifiers.heads.transform import Transform

Model = Literal["dgmmc-s", "sdgm-d", "sdgm-f"]


def parameter_count(model: Model, n_classes: int, components: int, dim: int, *, common: bool = False) -> int:
    """Return the number of learned values of a mixture head, counted as in arXiv 2410.13421, table 1.

    dgmmc-s has means, variances, priors and, with several components, mixture weights: KG(D + 1) + K (+ KG), or
    KGD + 1 + K (+ KG) with a common variance. sdgm-d has weights of [x, x²] and a bias, sdgm-f weights of x, of the
    upper triangle of x xᵀ and a bias (Hayashi and Uchida, ICLR 2021). A whitening is not counted, and neither are the
    variances of the weights, which the training of that paper adds.

    Args:
        common: True if all components of dgmmc-s have one variance.
    """
    each = {"dgmmc-s": dim, "sdgm-d": 2 * dim + 1, "sdgm-f": dim * (dim + 3) // 2 + 1}[model]
    count = n_classes * components * each
    if model != "dgmmc-s":
        return count
    variances = 1 if common else n_classes * components
    return count + variances + n_classes + (n_classes * components if components > 1 else 0)


class MixtureHead(Head):
    """Several components per class: score_k(z) = log Σ_g exp s_kg(z), with s_kg quadratic in the transformed vector z.

    Arrays in float32: those of the `Quadratic`, with K · G components class by class, and those of the transform.
    """

    kind = "mixture"

    def __init__(
        self,
        classes: Sequence[str],
        quadratic: Quadratic,
        transform: Transform,
        settings: Mapping[str, Any],
        temperature: float = 1.0,
    ) -> None:
        super().__init__(classes, temperature)
        self.quadratic, self.transform = quadratic, transform
        self._settings = {**settings, "form": list(quadratic.form), **transform.settings()}

    @property
    def dim(self) -> int:
        return self.transform.dim

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(of_classes(self.quadratic(self.transform(X)), len(self.classes)))

    def settings(self) -> dict[str, Any]:
        return dict(self._settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self.quadratic.named() | self.transform.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        settings = meta["settings"]
        count = len(meta["classes"]) * int(settings["components"])
        width = arrays["W"].shape[-1] if "W" in arrays and arrays["W"].ndim else 0
        shapes = Quadratic.shapes(settings["form"], count, width) | Transform.shapes(settings)
        require_shapes(arrays, shapes)
        transform = Transform.from_arrays(settings, arrays, width)
        return cls(meta["classes"], Quadratic.from_arrays(arrays), transform, settings, meta["temperature"])
