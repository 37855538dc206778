"""The vectors that are compared: the encoder's own, projected ones, and those of adapters that learn from clusters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.clusters import centred
from classifiers.fit.discrimination.adapter import Epoch, fit_adapter, principal_axes
from classifiers.fit.discrimination.losses import NONE
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.heads.transform import unit_rows
from classifiers.reproduce.mlcd.rows import Learning

MOST_POSITIVES = 32
"""Maximum number of positives of a row with a threshold: the largest l of the paper."""

Map = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A function from raw vectors (n, d) to the vectors of a space (n, D)."""


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors of one sort.

    Attributes:
        encode: raw vectors (n, d) → vectors (n, D).
        dim: D.
        curve: of an adapter's training, one entry for each epoch; empty for controls.
    """

    encode: Map
    dim: int
    curve: tuple[Epoch, ...] = ()


def own(learning: Learning, _: int) -> Space:
    """Return the encoder's own vectors, at unit norm."""
    return Space(unit_rows, learning.X.shape[1])


def pca(learning: Learning, dim: int) -> Space:
    """Return the projection onto the first principal axes, with which each adapter starts."""
    axes = principal_axes(learning.Z, dim)
    return Space(lambda X: centred(X, learning.mean) @ axes.T, len(axes))


def whitened(learning: Learning, dim: int) -> Space:
    """Return the same projection with every column divided by its standard deviation."""
    axes = principal_axes(learning.Z, dim)
    weights = axes / np.maximum((learning.Z @ axes.T).std(axis=0), 1e-6)[:, None]
    return Space(lambda X: centred(X, learning.mean) @ weights.T, len(axes))


CONTROLS: Mapping[str, Callable[[Learning, int], Space]] = {"own vectors": own, "PCA": pca, "PCA, whitened": whitened}
"""The spaces without clusters, by name; the number is the width D, if it can be chosen."""
OWN = "own vectors"


@dataclass(frozen=True, slots=True)
class Variant:
    """An adapter that can be learned.

    Attributes:
        clusters: k.
        threshold: least cosine of a row with its positives, in place of l; the nearest centre is always a positive, and
            no more than `MOST_POSITIVES` are. None for the l of the recipe.
    """

    clusters: int
    recipe: Recipe
    threshold: float | None = None

    def changed(self, **changes: Any) -> Self:
        """Return the variant with other values in its recipe."""
        return replace(self, recipe=replace(self.recipe, **changes))

    def learn(self, learning: Learning) -> Space:
        """Find the clusters, and learn the adapter. Raises NotTrainable, see `fit_adapter`."""
        made = learning.clustering(self.clusters, self.recipe.seed)
        nearest = self.positives(learning)
        fitted = fit_adapter(learning.Z, made.centres, nearest, self.recipe)
        return Space(lambda X: fitted(centred(X, made.mean)), len(fitted.arrays["weight"]), fitted.curve)

    def positives(self, learning: Learning) -> NDArray[np.int64]:
        """Return the numbers of each row's positive centres, nearest first, (n, l); `NONE` after its last one.

        One centre at least is left as a negative of each row.
        """
        made = learning.clustering(self.clusters, self.recipe.seed)
        asked = self.recipe.nearest if self.threshold is None else MOST_POSITIVES
        near, cosines = made.assign(learning.X, max(1, min(asked, len(made) - 1)))
        if self.threshold is None:
            return near
        near[:, 1:][cosines[:, 1:] < self.threshold] = NONE
        return near


def thresholds(learning: Learning, clusters: int, seed: int, positives: tuple[int, ...]) -> tuple[float, ...]:
    """Return for each number of positives the cosine that so many centres of a row exceed on average.

    The paper's thresholds are cosines of CLIP's vectors; after centring, cosines are much smaller.
    """
    made = learning.clustering(clusters, seed)
    _, cosines = made.assign(learning.X, max(1, min(MOST_POSITIVES, len(made) - 1)))
    sorted_ = np.sort(cosines, axis=None)[::-1]
    wanted = {min(len(sorted_), count * len(cosines)) for count in positives}
    return tuple(sorted({round(float(sorted_[place - 1]), 3) for place in wanted}, reverse=True))
