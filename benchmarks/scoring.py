"""Scoring speed of heads with Gaussian components, compared with a scikit-learn GaussianMixture for each class.

    python -m benchmarks.scoring [--repeats 11]

There are 100 classes × 512 dimensions in float32. Diagonal covariances with 3 components must reach 100 times
scikit-learn's rows/s. Full covariances must reach 12 times, both learned from many rows per class (full whitenings) and
from few rows (few directions). Both sides score the same vectors with the same parameters, in batches from 1 row, as in
a request, to 256 rows, where matrix products limit both. The exit status is 1 if any batch misses its ratio.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.mixture import GaussianMixture

from benchmarks.measure import machine, timed, verdict
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.heads.gaussian.quadratic import Quadratic, of_classes

CLASSES, DIM = 100, 512
BATCHES = (1, 8, 32, 256)
DIAGONAL_RATIO, FULL_RATIO = 100.0, 12.0


def mixture(weights: np.ndarray, means: np.ndarray, cholesky: np.ndarray, covariance: str) -> GaussianMixture:
    """Return a scikit-learn GaussianMixture with these parameters, as if fitted."""
    made = GaussianMixture(len(weights), covariance_type=covariance)
    made.weights_, made.means_, made.precisions_cholesky_ = weights, means, cholesky
    made.n_features_in_ = DIM
    return made


Score = Callable[[np.ndarray], np.ndarray]
"""A function from Z (n, d) to scores (n, K)."""


def rate(score: Score, Z: np.ndarray, repeats: int) -> float:
    """Return the median rows/s over `repeats` runs, or over more runs if these take less than a fifth of a second."""
    [first] = timed(lambda: score(Z), 1)
    return len(Z) / statistics.median(timed(lambda: score(Z), max(repeats, int(0.2 / first))))


@dataclass(frozen=True)
class Target:
    """The limits of a comparison.

    Attributes:
        ratio: least ratio of our rate to scikit-learn's.
        operations: floating point operations of our products for each row.
    """

    ratio: float
    operations: int


def compare(name: str, ours: Score, models: list[GaussianMixture], Z: np.ndarray, target: Target, repeats: int) -> bool:
    """Print both rates, the largest difference of row-centred scores, and the verdict; return True if all hold."""

    def theirs(wide: np.ndarray) -> np.ndarray:
        return np.stack([model.score_samples(wide) for model in models], axis=1)

    mine, other = ours(Z).astype(np.float64), theirs(Z.astype(np.float64))
    apart = np.abs((mine - mine.mean(axis=1, keepdims=True)) - (other - other.mean(axis=1, keepdims=True))).max()
    print(f"{name}: scores of up to {np.abs(other).max():.0f} differ by {apart:.1g}")
    held = []
    for batch in BATCHES:
        fast, slow = rate(ours, Z[:batch], repeats), rate(theirs, Z[:batch].astype(np.float64), repeats)
        told = f"{name}, {batch} at once: {fast:,.0f} rows/s, scikit-learn {slow:,.0f}, ratio"
        print(verdict(told, fast / slow, target.ratio, "×", at_least=True))
        held.append(fast / slow >= target.ratio)
        if not held[-1]:
            print(f"     {target.ratio:g} × needs {target.ratio * slow * target.operations / 1e9:.0f} GFLOP/s")
    return all(held)


def diagonal(rng: np.random.Generator, Z: np.ndarray, repeats: int) -> bool:
    components = 3
    means = rng.normal(size=(CLASSES, components, DIM))
    precisions = rng.uniform(0.5, 2.0, (CLASSES, components, DIM))
    weights = np.full(components, 1 / components)
    constants = np.log(weights) + 0.5 * (np.log(precisions).sum(axis=2) - DIM * np.log(2 * np.pi))
    flat = (constants.ravel(), means.reshape(-1, DIM), precisions.reshape(-1, DIM))
    quadratic = Quadratic.of_precisions(*flat, None).astype(np.float32)
    models = [mixture(weights, m, np.sqrt(p), "diag") for m, p in zip(means, precisions, strict=True)]
    name, target = f"diagonal, {components} components", Target(DIAGONAL_RATIO, 4 * DIM * len(quadratic.b))
    return compare(name, lambda some: of_classes(quadratic(some), CLASSES), models, Z, target, repeats)


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
    target = Target(FULL_RATIO, CLASSES * DIM * head.quadratic.form[1])  # for a triangle; directions take twice as many
    return compare(f"full, {rows} rows a class", head.scores, models, Z, target, repeats)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11)
    repeats = parser.parse_args().repeats
    print(f"{CLASSES} classes × {DIM} dimensions\n{machine()}")
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(max(BATCHES), DIM)).astype(np.float32)
    held = [diagonal(rng, Z, repeats), full(rng, Z, 20, repeats), full(rng, Z, 600, repeats)]
    print("all ratios are reached" if all(held) else "a ratio is missed here")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
