"""The Gaussian head: one Gaussian a class, computed from sufficient statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.heads.base import Head, Meta, require_shapes
from classifiers.heads.gaussian.covariance import MOMENTS
from classifiers.heads.gaussian.discriminant import TIED, Discriminant, GaussianModel, discriminant
from classifiers.heads.gaussian.moments import second_shape
from classifiers.heads.gaussian.quadratic import Quadratic, of_classes
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.gaussian.triangle import whitening_of
from classifiers.heads.transform import Transform

STATISTICS = ("counts", "sums", "second")


class GaussianHead(Head):
    """One Gaussian per class: p(z | k) = N(m_k, C_k) for transformed vectors z.

    The covariances have the form that a `GaussianModel` describes. The artifact keeps the float64 `statistics`, so
    heads can be merged, or rows removed, without the other rows.
    Arrays in float32: those of the `Quadratic` by name, with the affine part of the transform folded in if covariances
    are tied; centre (m,); for densities with tied covariances, whitening (m, m) or (m,), see `triangle.whitening_of`.
    """

    kind = "gaussian"

    def __init__(
        self,
        classes: Sequence[str],
        statistics: GaussianStatistics,
        transform: Transform,
        arrays: Mapping[str, NDArray[Any]],
        settings: Mapping[str, Any],
        temperature: float = 1.0,
        factor: NDArray[np.float64] | None = None,
    ) -> None:
        """Make a head. `factor` is that of a `Discriminant`, for a head whose arrays have no whitening yet."""
        super().__init__(classes, temperature)
        self.statistics, self.transform = statistics, transform
        self._settings = dict(settings)
        self.tied = settings.get("covariance", "tied") in TIED
        self.centre, self._stored_whitening, self._factor = arrays["centre"], arrays.get("whitening"), factor
        self.quadratic = Quadratic.from_arrays(arrays)

    @cached_property
    def whitening(self) -> NDArray[np.float32] | None:
        """The whitening of tied covariances that have a density. It is computed when it is first needed.

        That takes twice as long as all else that is solved for, and scores do not need it.
        """
        if self._factor is None:
            return self._stored_whitening
        return whitening_of(self._factor).astype(np.float32, order="C")

    @classmethod
    def from_statistics(
        cls,
        classes: Sequence[str],
        statistics: GaussianStatistics,
        model: GaussianModel | None = None,
        transform: Transform | None = None,
    ) -> Self:
        """Return the head computed from `statistics` of transformed rows. Raises NotTrainable, see `discriminant`."""
        model, transform = model or GaussianModel(), transform or Transform(statistics.dim)
        return cls.from_discriminant(classes, statistics, model, transform, discriminant(statistics, model))

    @classmethod
    def from_discriminant(
        cls,
        classes: Sequence[str],
        statistics: GaussianStatistics,
        model: GaussianModel,
        transform: Transform,
        solved: Discriminant,
    ) -> Self:
        """Return the head of a `discriminant` that is computed already, from the same statistics and model."""
        scores = solved.scores
        if model.covariance in TIED and scores.W is not None:
            W, b = transform.folded(scores.W, scores.b)
            scores = Quadratic(b, W)
        scores = scores.triangular()
        named = scores.named() | {"centre": solved.centre}
        arrays = {name: array.astype(np.float32, order="C") for name, array in named.items()}
        asked = model.shrinkage if isinstance(model.shrinkage, str | float | int) else "ledoit-wolf"
        settings = {**asdict(model), "shrinkage": asked, "shrinkage_used": solved.shrinkage}
        settings |= {"form": list(scores.form), **transform.settings()}
        return cls(classes, statistics, transform, arrays, settings, factor=solved.factor)

    @property
    def dim(self) -> int:
        return self.transform.dim

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return log π_k + log N(z; m_k, C_k), (n, K), for tied covariances minus a term that all classes share."""
        if self.tied:
            return np.asarray(self.quadratic(self.transform.rowwise(X)))
        return np.asarray(self.quadratic(self.transform(X) - self.centre))

    def log_density(self, X: ArrayLike) -> NDArray[np.float32] | None:
        """Return log p(z) = log Σ_k π_k N(z; m_k, C_k), in nats, (n,); None for correlations. Raises BadVectors.

        The term that `score` leaves out for tied covariances is the log density of N(centre, C), so one whitening is
        enough.
        """
        scores = self.scores(X)
        if self._settings.get("correlation"):
            return None
        log_sum = of_classes(scores, 1)[:, 0]
        if self.whitening is None:
            return np.asarray(log_sum)
        centred = self.transform(np.asarray(X, dtype=np.float32)) - self.centre
        z = centred @ self.whitening if self.whitening.ndim == 2 else centred * self.whitening
        half_log_det = np.log(self.whitening.diagonal() if self.whitening.ndim == 2 else self.whitening).sum()
        log_norm = np.float32(half_log_det - 0.5 * len(self.centre) * np.log(2 * np.pi))
        return np.asarray(log_sum - 0.5 * np.einsum("ij,ij->i", z, z) + log_norm)

    def settings(self) -> dict[str, Any]:
        return dict(self._settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        folded = self.quadratic.named() | {"centre": self.centre} | self.transform.arrays()
        if self.whitening is not None:
            folded["whitening"] = self.whitening
        return folded | {name: getattr(self.statistics, name) for name in STATISTICS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        settings, n_classes = meta["settings"], len(meta["classes"])
        covariance = settings.get("covariance", "tied")
        if covariance not in MOMENTS:
            raise ValueError(f"covariance is {covariance!r}, expected one of {', '.join(MOMENTS)}")
        moment, tied = MOMENTS[covariance], covariance in TIED
        width = arrays["centre"].shape[-1] if "centre" in arrays and arrays["centre"].ndim else 0
        transform = Transform.from_arrays(settings, arrays, width)
        scored = transform.rowwise.width if tied else width  # linear scores already contain the affine part
        shapes = Quadratic.shapes(settings.get("form", (0, 0)), n_classes, scored) | Transform.shapes(settings)
        shapes["centre"] = ((width,), "float32")
        if tied and not settings.get("correlation"):
            shapes["whitening"] = ((width,) * (2 if covariance == "tied" else 1), "float32")
        shapes |= {"counts": ((n_classes,), "float64"), "sums": ((n_classes, width), "float64")}
        shapes["second"] = (second_shape(moment, n_classes, width), "float64")
        require_shapes(arrays, shapes)
        statistics = GaussianStatistics(arrays["counts"], arrays["sums"], arrays["second"], moment)
        return cls(meta["classes"], statistics, transform, arrays, settings, meta["temperature"])
