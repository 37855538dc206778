"""Mixture heads as a scikit-learn estimator: EM (expectation maximisation) first, then training to separate classes."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
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
"""Most weights of SDGM-F. With their gradients, the optimiser's moments and the best weights so far: 2.5 GiB."""


class MixtureClassifier(HeadClassifier):
    """G Gaussians per class, each with one variance, trained discriminatively: DGMMC-S, arXiv 2410.13421.

    Means, variances and mixture weights start from EM within each class (k-means++ first), or for one component from
    the class's mean and variance. AdamW then lowers the cross-entropy. A tenth of the rows is held out to choose the
    number of steps. SDGM-D and SDGM-F (Hayashi and Uchida, ICLR 2021) are the paper's baselines; here their weights
    have no variational noise, because its term in the loss has weight 1e-9 in the paper's code.

    Vectors are centred and divided by the pooled deviation within classes first, so that one learning rate suits all.
    The training loss of the result is at most that of the start, whatever the learning rate: a step that makes the
    loss worse than at the start is undone, and the rate halved.

    Args:
        model: "dgmmc-s" | "sdgm-d" | "sdgm-f".
        components: G ≥ 1. A class with fewer than 2 G rows gets fewer. "auto" is allowed only in training from a store,
            which has rows to choose on.
        steps: maximum number of steps; 0 returns the start: EM's mixture for dgmmc-s, small random weights for SDGM.
        learning_rate: first rate of AdamW, above 0 and at most 1; it falls to a tenth along a cosine.
        norm, project, dims, whiten, blocks: the transform of the vectors, see `TransformPlan`.
        seed: seed of EM, of the choice of held-out rows and of the start of SDGM.

    Attributes:
        classes_: labels, sorted, (K,).
        steps_: number of steps taken.
        head_: the learned NumPy head for serving, in float32.
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
        """Learn from X (n, d), y (n,) labels.

        Raises:
            NotTrainable: fewer than two classes, no variance, or a first loss that is not finite.
            BadVectors: values whose squares overflow.
            BadParameter: see the class.
        """
        # Importing torch takes a second; the other kinds of heads do not need it.
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
        if not isinstance(self.steps, Integral) or self.steps < 0:
            raise BadParameter(f"steps must be a whole number ≥ 0, got {self.steps!r}")
        if not 0 < self.learning_rate <= 1:
            raise BadParameter(f"learning_rate must be above 0 and at most 1, got {self.learning_rate!r}")

    def _scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return of_classes(self._quadratic(self.transform_(X)), len(self.classes_))


def centred(transform: Transform, X: NDArray[Any], codes: NDArray[np.intp], n_classes: int) -> tuple[Transform, float]:
    """Return the transform with the mean of all rows subtracted last, and the pooled deviation within classes.

    Random features are not centred, because a transform ends with them.

    Raises NotTrainable when there is no variance within classes.
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
    """Fit a spherical mixture to each class by EM from k-means++: means (K, G, d), variances and weights (K, G).

    A weight of 0 marks an unused component. Variances are at least 1e-3, a thousandth of the pooled variance.
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
