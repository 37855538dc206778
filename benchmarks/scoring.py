"""How fast heads of Gaussian components score: beside one scikit-learn GaussianMixture a class, in the same run.

    python -m benchmarks.scoring [--repeats 5]

100 classes × 512 dimensions, float32: diagonal with 3 components (wanted: 100 × scikit-learn's rows/s), and full
covariances (wanted: 12 ×) of many rows a class, which take a whole whitening each, and of few rows, which take few
directions. Both sides score the same vectors with the same parameters, in one batch. Exits with 1 where it is missed.
"""

import argparse
import statistics
import sys
from collections.abc import Callable

import numpy as np
from sklearn.mixture import GaussianMixture

from benchmarks.measure import machine, timed, verdict
from classifiers.fit.gaussian import GaussianClassifier
from classifiers.heads.quadratic import Quadratic, of_classes

CLASSES, DIM, BATCH = 100, 512, 256
DIAGONAL_RATIO, FULL_RATIO = 100.0, 12.0


def mixture(weights: np.ndarray, means: np.ndarray, cholesky: np.ndarray, covariance: str) -> GaussianMixture:
    """A GaussianMixture with these parameters, as if it had been fitted."""
    made = GaussianMixture(len(weights), covariance_type=covariance)
    made.weights_, made.means_, made.precisions_cholesky_ = weights, means, cholesky
    made.n_features_in_ = DIM
    return made


def rate(score: Callable[[], object], repeats: int) -> float:
    """Median rows a second."""
    score()
    return BATCH / statistics.median(timed(score, repeats))


def compare(
    name: str,
    ours: Callable[[], np.ndarray],
    models: list[GaussianMixture],
    Z: np.ndarray,
    ratio: float,
    repeats: int,
) -> bool:
    """Prints both rates, the largest difference of scores less their row's mean, and whether the ratio is reached."""
    wide = Z.astype(np.float64)

    def theirs() -> np.ndarray:
        return np.stack([model.score_samples(wide) for model in models], axis=1)

    mine, other = ours().astype(np.float64), theirs()
    scale = np.abs(other).max()
    apart = np.abs((mine - mine.mean(axis=1, keepdims=True)) - (other - other.mean(axis=1, keepdims=True))).max()
    fast, slow = rate(ours, repeats), rate(theirs, repeats)
    print(f"{name}: {fast:,.0f} rows/s, scikit-learn {slow:,.0f}; scores of up to {scale:.0f} differ by {apart:.1g}")
    print(verdict(f"{name}, ratio", fast / slow, ratio, "×", at_least=True))
    return fast / slow >= ratio


def diagonal(rng: np.random.Generator, Z: np.ndarray, repeats: int) -> bool:
    components = 3
    means = rng.normal(size=(CLASSES, components, DIM))
    precisions = rng.uniform(0.5, 2.0, (CLASSES, components, DIM))
    weights = np.full(components, 1 / components)
    constants = np.log(weights) + 0.5 * (np.log(precisions).sum(axis=2) - DIM * np.log(2 * np.pi))
    flat = (constants.ravel(), means.reshape(-1, DIM), precisions.reshape(-1, DIM))
    quadratic = Quadratic.of_precisions(*flat, None).astype(np.float32)
    models = [mixture(weights, m, np.sqrt(p), "diag") for m, p in zip(means, precisions, strict=True)]
    name = f"diagonal, {components} components"
    return compare(name, lambda: of_classes(quadratic(Z), CLASSES), models, Z, DIAGONAL_RATIO, repeats)


def full(rng: np.random.Generator, Z: np.ndarray, rows: int, repeats: int) -> bool:
    codes = np.repeat(np.arange(CLASSES), rows)
    X = rng.normal(size=(len(codes), DIM)) + rng.normal(size=(CLASSES, DIM))[codes]
    head = GaussianClassifier(covariance="full", shrinkage=0.3, priors="uniform").fit(X, codes).head_
    models = []
    for k in range(CLASSES):
        mean, rest = X[codes == k].mean(axis=0), X[codes == k] - X[codes == k].mean(axis=0)
        covariance = 0.7 * rest.T @ rest / rows + 0.3 * (rest**2).mean() * np.eye(DIM)
        cholesky = np.linalg.inv(np.linalg.cholesky(covariance)).T
        models.append(mixture(np.ones(1), mean[None], cholesky[None], "full"))
    return compare(f"full, {rows} rows a class", lambda: head.scores(Z), models, Z, FULL_RATIO, repeats)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(f"{CLASSES} classes × {DIM} dimensions, batches of {BATCH}\n{machine()}")
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(BATCH, DIM)).astype(np.float32)
    held = [diagonal(rng, Z, repeats), full(rng, Z, 20, repeats), full(rng, Z, 600, repeats)]
    print("holds" if all(held) else "does not hold here")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
