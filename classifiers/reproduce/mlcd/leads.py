"""The lead of one sort of vectors over another on the same rows, with its intervals over rows and over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from classifiers.reproduce.mlcd.outcomes import Outcome

BETTER, WORSE, OPEN = "better", "worse", "no difference shown"


@dataclass(frozen=True, slots=True)
class Lead:
    """The accuracy or mAP of A minus that of B, in 0…1.

    Attributes:
        low, high: 95 % paired bootstrap interval over rows, for the mean over the seeds.
        seeds: 95 % interval of the mean over seeds (Student's t); None with one seed.
    """

    mean: float
    low: float
    high: float
    seeds: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        """`BETTER` or `WORSE` if all intervals are on one side of 0, otherwise `OPEN`."""
        ends = [self.low, self.high, *(self.seeds or ())]
        return BETTER if min(ends) > 0 else WORSE if max(ends) < 0 else OPEN

    def points_of_seeds(self) -> str:
        return "" if self.seeds is None else f"{100 * self.seeds[0]:+z.1f} to {100 * self.seeds[1]:+z.1f}"


def lead(a: Outcome, b: Outcome, seed: int) -> Lead:
    """Return the lead of A over B.

    Args:
        a, b: outcomes on the same rows; b has as many seeds as a, or one.
        seed: of the bootstrap.
    """
    rows = a.ahead_of(b, seed)
    each = a.values - b.values
    return Lead(rows.mean, rows.low, rows.high, over_seeds(each) if len(each) > 1 else None)


def over_seeds(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of n ≥ 2 values, by Student's t."""
    mean, half = float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean - half, mean + half


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of the paper, or a control: `one` is better than `other`, both names of tested vectors."""

    text: str
    one: str
    other: str


CLAIMS = (
    Claim("the adapter is better than the encoder's own vectors", "MLCD", "own vectors"),
    Claim("the adapter chosen on validation rows is better than the encoder's own vectors", "chosen", "own vectors"),
    Claim("the adapter is better than PCA of the same width", "MLCD", "PCA"),
    Claim("the adapter is better than whitened PCA of the same width", "MLCD", "PCA, whitened"),
    Claim("several positives are better than one", "MLCD", "MLCD, l = 1"),
    Claim("the loss MLCD is better than MLC", "MLCD", "MLC"),
    Claim("MLCD is better than UNICOM", "MLCD", "UNICOM"),
)
"""The claims, in the order of the tables. The first and the last three are the paper's."""


def leads(found: Mapping[str, Mapping[str, Outcome]], seed: int) -> dict[tuple[Claim, str], Lead]:
    """Return the lead of each claim under each judge, from name of vectors → judge → outcome."""
    return {
        (claim, judge): lead(found[claim.one][judge], found[claim.other][judge], seed)
        for claim in CLAIMS
        for judge in found[claim.one]
    }


def summary(claim: Claim, found: Sequence[Lead]) -> str:
    """Return what all leads of a claim say in one sentence."""
    counts: dict[str, Any] = {word: sum(each.verdict == word for each in found) for word in (BETTER, WORSE, OPEN)}
    spread = f"{100 * min(each.mean for each in found):+z.1f} to {100 * max(each.mean for each in found):+z.1f} points"
    return (
        f"Claim “{claim.text}”: shown in {counts[BETTER]} of {len(found)} comparisons, its opposite in "
        f"{counts[WORSE]}, no difference shown in {counts[OPEN]} ({spread})."
    )
