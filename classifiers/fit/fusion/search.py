"""Evolutionary search for the temperatures of a log-average (the genetic algorithm of arXiv 2405.17139)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, differential_evolution

from classifiers.heads.fusion.rules import filled, log_softmax

LARGEST_LOG = 3.0
"""Temperatures are searched between e⁻³ and e³ times those that it starts from."""

EVALUATIONS = 500
"""Approximate number of temperature vectors that are tried."""

LEAST_POPULATION = 5
"""Least number of members of the population for each temperature."""


def search_temperatures(
    scores: NDArray[Any], codes: NDArray[np.integer[Any]], start: NDArray[np.float32], *, seed: int = 0
) -> NDArray[np.float32]:
    """Return temperatures (B,) whose log-average is right on the most rows; `start` if none is better, or without rows.

    The paper gives no population and no mutation, so this is differential evolution (Storn and Price 1997). Among
    equally good temperatures, it keeps those that it found first.

    Args:
        scores: scores of each member on rows that it was not trained on, (m, B, K); -inf for classes that it lacks.
        codes: true classes (m,).
        start: temperatures to start from, (B,).
        seed: seed of the population.
    """
    members = len(start)
    if len(codes) == 0 or members == 1:
        return start
    logs = filled(log_softmax(scores, start)).transpose(1, 0, 2)
    logs = np.maximum(logs, np.finfo(logs.dtype).min / (2 * members * np.exp(LARGEST_LOG)))  # -inf × 0 is NaN

    def wrong(log_factors: NDArray[np.float64]) -> float:
        chosen = np.tensordot(np.exp(-log_factors).astype(logs.dtype), logs, 1).argmax(axis=1)
        return float(np.mean(chosen != codes))

    population = max(LEAST_POPULATION, 24 // members)
    found = differential_evolution(
        wrong,
        Bounds(np.full(members, -LARGEST_LOG), np.full(members, LARGEST_LOG)),
        popsize=population,
        maxiter=EVALUATIONS // (population * members) - 1,
        x0=np.zeros(members),
        rng=np.random.default_rng(seed),
        polish=False,
        tol=0,
    )
    better = found.fun < wrong(np.zeros(members))
    return (start * np.exp(found.x)).astype(np.float32) if better else start
