"""How fast heads of Gaussian components score: beside one scikit-learn GaussianMixture a class, in the same run.

    python -m benchmarks.scoring [--repeats 11]

100 classes × 512 dimensions, float32: diagonal with 3 components (wanted: 100 × scikit-learn's rows/s), and full
covariances (wanted: 12 ×) of many rows a class, which take a whole whitening each, and of few rows, which take few
directions. Both sides score the same vectors with the same parameters, from a single one, as a request brings it, to
batches in which both are bound by their products alone. Exits with 1 where it is missed at any batch.
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
    """A GaussianMixture with these parameters, as if it had been fitted."""
    made = GaussianMixture(len(weights), covariance_type=covariance)
    made.weights_, made.means_, made.precisions_cholesky_ = weights, means, cholesky
    made.n_features_in_ = DIM
    return made


Score = Callable[[np.ndarray], np.ndarray]
"""Z (n, d) → scores (n, K)."""


def rate(score: Score, Z: np.ndarray, repeats: int) -> float:
    """Median rows a second of `repeats` runs, or of as many as take a fifth of a second."""
    [first] = timed(lambda: score(Z), 1)
    return len(Z) / statistics.median(timed(lambda: score(Z), max(repeats, int(0.2 / first))))


@dataclass(frozen=True)
class Wanted:
    """How often scikit-learn's rate, and the floating point operations that a row takes of our products."""

    ratio: float
    operations: int


def compare(name: str, ours: Score, models: list[GaussianMixture], Z: np.ndarray, wanted: Wanted, repeats: int) -> bool:
    """Prints both rates, the largest difference of scores less their row's mean, and whether the ratio is reached."""

    def theirs(wide: np.ndarray) -> np.ndarray:
        return np.stack([model.score_samples(wide) for model in models], axis=1)

    mine, other = ours(Z).astype(np.float64), theirs(Z.astype(np.float64))
    apart = np.abs((mine - mine.mean(axis=1, keepdims=True)) - (other - other.mean(axis=1, keepdims=True))).max()
    print(f"{name}: scores of up to {np.abs(other).max():.0f} differ by {apart:.1g}")
    held = []
    for batch in BATCHES:
        fast, slow = rate(ours, Z[:batch], repeats), rate(theirs, Z[:batch].astype(np.float64), repeats)
        told = f"{name}, {batch} at once: {fast:,.0f} rows/s, scikit-learn {slow:,.0f}, ratio"
        print(verdict(told, fast / slow, wanted.ratio, "×", at_least=True))
        held.append(fast / slow >= wanted.ratio)
        if not held[-1]:
            print(f"     {wanted.ratio:g} × would take {wanted.ratio * slow * wanted.operations / 1e9:.0f} GFLOP/s")
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
    name, wanted = f"diagonal, {components} components", Wanted(DIAGONAL_RATIO, 4 * DIM * len(quadratic.b))
    return compare(name, lambda some: of_classes(quadratic(some), CLASSES), models, Z, wanted, repeats)


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
    wanted = Wanted(FULL_RATIO, CLASSES * DIM * head.quadratic.form[1])  # of a triangle; twice as many of directions
    return compare(f"full, {rows} rows a class", head.scores, models, Z, wanted, repeats)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11)
    repeats = parser.parse_args().repeats
    print(f"{CLASSES} classes × {DIM} dimensions\n{machine()}")
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(max(BATCHES), DIM)).astype(np.float32)
    held = [diagonal(rng, Z, repeats), full(rng, Z, 20, repeats), full(rng, Z, 600, repeats)]
    print("holds" if all(held) else "does not hold here")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
