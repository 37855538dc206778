"""Paper 1 (arXiv 2410.13421): one Gaussian per class is as good as softmax, more do not help, and PCA costs little.

Each head learns from the split `train`. The penalty of softmax and the shrinkage are chosen by NLL on `val`, or without
`val` on a held-out fifth of the training rows; then the head learns from all of `train`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from benchmarks.quality.study import Finding, Study, Table
from benchmarks.quality.vectors import Vectors, encoders_of, paired_interval
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.base import HeadClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.mixture import MixtureClassifier
from classifiers.fit.held_out import stratified_folds
from classifiers.fit.linear import LinearClassifier
from store import Store

PAPER = "Gaussian heads (arXiv 2410.13421)"
TASKS = ("clothing10", "caltech99", "cifar10_10k", "fsdd_share")
AFFORDABLE = {"cifar10_10k": ("lite0",)}
"""The encoders of tasks for which all three would take too long: a mixture on 7,000 rows takes half a core-minute."""
SEEDS = (0, 1, 2, 3, 4)
COMPONENTS = (1, 2, 4)
PENALTIES, SHRINKAGES = (0.001, 0.01, 0.1, 1.0), (0.1, 0.25, 0.5, 0.75)
MOST_BEHIND, MOST_LOST = 0.005, 0.01
"""Maximum loss of accuracy of one Gaussian compared with softmax, and by PCA, with which a claim holds."""
VARIANCE = 0.8
PCA = {"project": "pca", "dims": VARIANCE}

ONE = "one Gaussian per class is within 0.5 points of softmax"
TIED = "one Gaussian per class with a common covariance (LDA) is within 0.5 points of softmax"
MORE = "more components per class do not help"
REDUCED = f"PCA at {VARIANCE:.0%} of the variance costs at most 1 point"

REMARKS = {
    ONE: "This verdict on mixtures is due to the recipe here, not to the method: training starts at each class's own "
    "variance, which makes the head over-confident."
}
"""{claim: a sentence above its verdicts}."""

Right = NDArray[np.float64]
"""A value for each test row: 1 if the answer was right, otherwise 0; or the share of seeds with a right answer."""


def studies(store: Store, load: Any) -> list[Study]:
    """Return one study for each task and encoder."""
    settings = {
        "seeds": SEEDS, "components": COMPONENTS, "penalties": PENALTIES, "shrinkages": SHRINKAGES, "variance": VARIANCE
    }  # fmt: skip
    made = []
    for task in TASKS:
        vectors: Vectors = load(store, task)
        for encoder in AFFORDABLE.get(task, encoders_of(task)):
            run = partial(study, vectors, encoder)
            made.append(Study(PAPER, f"gaussians, {task}, {encoder}", __file__, vectors.digest, run, settings, REMARKS))
    return made


def study(vectors: Vectors, encoder: str) -> tuple[list[Finding], list[Table]]:
    """Test all claims on one encoder's vectors of one task."""
    heads: dict[str, tuple[list[Right], str]] = {}
    for suffix, transform in (("", {}), (", PCA", PCA)):
        heads["softmax" + suffix] = tuned([LinearClassifier(C=C, **transform) for C in PENALTIES], vectors, encoder)
        lda = [GaussianClassifier(shrinkage=s, **transform) for s in SHRINKAGES]
        heads["LDA" + suffix] = tuned(lda, vectors, encoder)
    for components in COMPONENTS:
        heads[f"DGMMC-S, G = {components}"] = seeded(vectors, encoder, components=components)
    heads["DGMMC-S, G = 1, PCA"] = seeded(vectors, encoder, components=1, **PCA)
    right = {name: np.mean(runs, axis=0) for name, (runs, _) in heads.items()}
    where = f"{vectors.task}, {encoder}"
    findings = [
        compared(ONE, where, right, "DGMMC-S, G = 1", "softmax", MOST_BEHIND),
        compared(TIED, where, right, "LDA", "softmax", MOST_BEHIND),
        *(compared(MORE, where, right, "DGMMC-S, G = 1", f"DGMMC-S, G = {G}", 0.0) for G in COMPONENTS[1:]),
    ]
    reduced = ("softmax", "LDA", "DGMMC-S, G = 1")
    findings += [compared(REDUCED, where, right, f"{head}, PCA", head, MOST_LOST) for head in reduced]
    return findings, [table(vectors, encoder, heads)]


def compared(claim: str, where: str, right: dict[str, Right], one: str, other: str, most: float) -> Finding:
    """Return the finding that `one` is at most `most` worse than `other` on the same test rows."""
    apart, low, high = paired_interval(right[one], right[other])
    figure = f"{one} {right[one].mean():.3f}, {other} {right[other].mean():.3f}: {points(apart, low, high)}"
    return Finding(claim, where, figure, bool(apart >= -most - 1e-12), sure=not low < -most <= high)


def points(apart: float, low: float, high: float) -> str:
    return f"{100 * apart:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def tuned(candidates: Sequence[HeadClassifier], vectors: Vectors, encoder: str) -> tuple[list[Right], str]:
    """Choose the candidate with the least validation NLL; return its right test rows and its description."""
    X, codes = vectors.part(encoder, "train")
    learning = (X, codes)
    validation = vectors.part(encoder, "val")
    if not len(validation[1]):
        held = stratified_folds(codes, 5, np.random.default_rng(0)) == 0
        learning, validation = (X[~held], codes[~held]), (X[held], codes[held])
    losses = [validation_nll(clone(head).fit(*learning), *validation) for head in candidates]
    best = clone(candidates[int(np.argmin(losses))]).fit(X, codes)
    kept = {"C": best.C} if isinstance(best, LinearClassifier) else {"shrinkage": best.shrinkage}
    described = ", ".join(f"{name} {value:g}" for name, value in kept.items())
    return [rights(best, vectors, encoder)], described + width(best)


def validation_nll(head: HeadClassifier, X: NDArray[Any], codes: NDArray[np.int64]) -> float:
    """Return the NLL at the best temperature, so that the choice does not depend on calibration."""
    scores = head.scores(X)
    return mean_nll(scores, codes, fit_temperature(scores, codes))


def seeded(vectors: Vectors, encoder: str, **parameters: Any) -> tuple[list[Right], str]:
    """Return the right test rows of mixtures, one for each seed (of EM and the held-out rows), and a description."""
    fitted = [MixtureClassifier(seed=seed, **parameters).fit(*vectors.part(encoder, "train")) for seed in SEEDS]
    return [rights(head, vectors, encoder) for head in fitted], f"{len(SEEDS)} seeds" + width(fitted[0])


def width(head: Any) -> str:
    """Return the number of components that PCA kept, as text; "" for linear heads, which fold the components."""
    return f", {head.transform_.width} dims" if head.project == "pca" and head.transform_.matrix is not None else ""


def rights(head: HeadClassifier, vectors: Vectors, encoder: str) -> Right:
    X, codes = vectors.part(encoder, "test")
    return (head.predict(X) == codes).astype(np.float64)


def table(vectors: Vectors, encoder: str, heads: dict[str, tuple[list[Right], str]]) -> Table:
    rows = []
    for name, (runs, described) in heads.items():
        accuracies = [float(run.mean()) for run in runs]
        spread = f" ± {np.std(accuracies, ddof=1):.3f}" if len(accuracies) > 1 else ""
        cells = (vectors.task, encoder, name, f"{np.mean(accuracies):.3f}{spread}", described, str(len(runs[0])))
        rows.append(cells)
    return Table("Test accuracy", ("data", "encoder", "head", "accuracy", "chosen", "test rows"), tuple(rows))
