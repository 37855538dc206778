"""Mixtures a class as a scikit-learn estimator: started by EM, then trained to tell the classes apart."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import validate_data

from classifiers.errors import BadParameter, NotTrainable
from classifiers.fit.base import HeadClassifier, encode, names
from classifiers.fit.gaussian.parallel import gather, shares
from classifiers.fit.transform import Projection, TransformPlan
from classifiers.heads.gaussian.covariance import mean_variance, pooled
from classifiers.heads.gaussian.mixture import MixtureHead, Model, parameter_count
from classifiers.heads.gaussian.quadratic import of_classes
from classifiers.heads.transform import Transform

MOST_CELLS = 2**26
"""Most weights of SDGM-F: with their gradients and the optimiser's moments 1 GB."""


class MixtureClassifier(HeadClassifier):
    """G Gaussians a class, each with one variance, trained discriminatively: DGMMC-S, arXiv 2410.13421.

    Means, variances and mixture weights start from EM within each class (k-means++ first), or for one component from
    the class's mean and variance; then AdamW lowers the cross-entropy, for as many steps as did best on a tenth of the
    rows that was held out. SDGM-D and SDGM-F (Hayashi and Uchida, ICLR 2021) are its baselines, without the variational
    noise on their weights, whose term in the loss has weight 1e-9 in the paper's code.

    Vectors are centred and divided by the pooled deviation within classes first, so that one learning rate fits all.

    Args:
        model: "dgmmc-s" | "sdgm-d" | "sdgm-f".
        components: G ≥ 1. A class with fewer than 2 G rows gets fewer. "auto" is for training from a store, which has
            rows to choose on.
        steps: most steps; 0 leaves dgmmc-s as EM made it.
        learning_rate: of AdamW, falling to a tenth by a cosine.
        norm, project, dims, whiten, blocks: the transform before it, see `TransformPlan`.
        seed: of EM, of the rows held out and of the start of SDGM.

    Attributes:
        classes_: labels, sorted, (K,).
        steps_: that were taken.
        head_: what it learned as a NumPy head for serving, in float32.
    """

    def __init__(
        self,
        model: Model = "dgmmc-s",
        components: int | Literal["auto"] = 1,
        steps: int = 200,
        learning_rate: float = 0.01,
        norm: Literal["none", "unit"] = "none",
        project: Projection = "none",
        dims: float | None = None,
        whiten: bool = False,
        blocks: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.components = components
        self.steps = steps
        self.learning_rate = learning_rate
        self.norm = norm
        self.project = project
        self.dims = dims
        self.whiten = whiten
        self.blocks = blocks
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learns from X (n, d), y (n,) labels. Raises NotTrainable for fewer than two classes or no variance."""
        # torch takes a second to import, which the other kinds need not pay
        from classifiers.fit.gaussian.mixture_training import train

        self._check()
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
        classes, codes = encode(labels)
        transform, deviation = centred(TransformPlan.of(self).learn(vectors), vectors, codes, len(classes))
        Z = transform(vectors) / vectors.dtype.type(deviation)
        K, G, dim = len(classes), int(self.components), Z.shape[1]
        if self.model == "sdgm-f" and K * G * dim**2 > MOST_CELLS:
            raise NotTrainable(
                f"sdgm-f of {K} classes with {G} components in {dim} dimensions has {K * G * dim**2:,} weights, "
                f"more than {MOST_CELLS:,}; use project='pca' with fewer dims, or model='sdgm-d'"
            )
        start = em_start(Z, codes, K, G, self.seed) if self.model == "dgmmc-s" else None
        learned, self.steps_ = train(
            Z, codes, K, G, model=self.model, start=start, steps=self.steps, rate=self.learning_rate, seed=self.seed
        )
        self.classes_, self.transform_, self._quadratic = classes, transform, learned.over(deviation)
        settings = {"model": self.model, "components": G, "steps_used": self.steps_}
        settings["parameter_count"] = parameter_count(self.model, K, G, dim)
        self.head_ = MixtureHead(names(classes), self._quadratic.astype(np.float32), transform, settings)
        return self

    def _check(self) -> None:
        models: Sequence[str] = get_args(Model)
        if self.model not in models:
            raise BadParameter(f"model must be one of {', '.join(models)}, got {self.model!r}")
        if isinstance(self.components, str) or self.components < 1:
            raise BadParameter(f"components must be a whole number ≥ 1, got {self.components!r}")

    def _scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return of_classes(self._quadratic(self.transform_(X)), len(self.classes_))


def centred(transform: Transform, X: NDArray[Any], codes: NDArray[np.intp], n_classes: int) -> tuple[Transform, float]:
    """The transform, then less the mean of all rows; and the pooled deviation within classes. Raises NotTrainable.

    Random features keep their place: nothing can follow them within the transform.
    """
    statistics = gather(shares(X, codes), n_classes, transform, "diagonal")
    deviation = float(np.sqrt(mean_variance(pooled(statistics))))
    if transform.relu:
        return transform, deviation
    offset = -statistics.centre() + (0 if transform.offset is None else transform.offset)
    return replace(transform, offset=offset), deviation


def em_start(
    Z: NDArray[Any], codes: NDArray[np.intp], n_classes: int, components: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means (K, G, d), variances (K, G) and weights (K, G) of spherical mixtures, each class by EM from k-means++.

    A weight of 0 is a component out of use. Variances stay above a thousandth of the pooled one, which is 1.
    """
    means = np.zeros((n_classes, components, Z.shape[1]))
    variances, weights = np.ones((n_classes, components)), np.zeros((n_classes, components))
    for k in range(n_classes):
        rows = Z[codes == k].astype(np.float64)
        count = max(1, min(components, len(rows) // 2))
        if count == 1 or not np.ptp(rows, axis=0).any():
            means[k, 0], weights[k, 0] = rows.mean(axis=0), 1.0
            variances[k, 0] = max(float(rows.var(axis=0).mean()), 1e-3) if len(rows) > 1 else 1.0
            continue
        mixture = GaussianMixture(count, covariance_type="spherical", init_params="k-means++", reg_covar=1e-3)
        with np.errstate(all="ignore"):
            mixture.set_params(random_state=seed, max_iter=50, tol=1e-2).fit(rows)
        means[k, :count], variances[k, :count] = mixture.means_, mixture.covariances_
        weights[k, :count] = mixture.weights_
    return means, variances, weights
