"""Paper 1 (arXiv 2410.13421): one Gaussian per class is as good as softmax, more do not help, and PCA costs little.

Each head learns from the split `train` as `headwater train` learns: its parameters are chosen by NLL on `val`, or
without `val` on folds of the training rows; then it learns from all of `train`. The split `test` is looked at once.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from benchmarks.quality.study import Finding, Study, Table
from benchmarks.quality.vectors import Vectors, encoders_of, paired_interval
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.base import HeadClassifier
from classifiers.fit.held_out import stratified_folds
from classifiers.fit.linear import LinearClassifier
from classifiers.heads.base import Head
from classifiers.training.kinds import KINDS, make_estimator
from classifiers.training.rows.rows import Rows
from store import Store

PAPER = "Gaussian heads (arXiv 2410.13421)"
TASKS = ("clothing10", "caltech99", "cifar10_10k", "fsdd_share")
AFFORDABLE = {"cifar10_10k": ("lite0",)}
"""The encoders of tasks for which all three would take too long."""
PRODUCTS = ("clothing10", "fsdd_share")
"""Tasks on which SDGM-F is trained. It has too many weights for 99 classes, and takes minutes for 7,000 rows."""
COMPONENTS = (1, 2, 4)
MOST_BEHIND, MOST_LOST = 0.005, 0.01
"""Maximum loss of accuracy of one Gaussian compared with softmax, and by PCA, with which a claim holds."""
VARIANCE = 0.8
PCA = {"project": "pca", "dims": VARIANCE}
KEPT = ("C", "shrinkage", "shrinkage_used", "power")
"""Chosen parameters that the page shows."""

ONE = "one Gaussian per class is within 0.5 points of softmax"
TIED = "one Gaussian per class with a common covariance (LDA) is within 0.5 points of softmax"
MORE = "more components per class do not help"
REDUCED = f"PCA at {VARIANCE:.0%} of the variance costs at most 1 point"

Right = NDArray[np.float64]
"""A value for each test row: 1 if the answer was right, otherwise 0."""


def studies(store: Store, load: Any) -> list[Study]:
    """Return one study for each task and encoder."""
    made = []
    for task in TASKS:
        vectors: Vectors = load(store, task)
        for encoder in AFFORDABLE.get(task, encoders_of(task)):
            run, settings = partial(study, store, vectors, encoder), {"heads": heads_of(task)}
            made.append(Study(PAPER, f"gaussians, {task}, {encoder}", __file__, vectors.digest, run, settings))
    return made


def heads_of(task: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return {name: (kind, parameters that are given)} of the heads of a task."""
    heads: dict[str, tuple[str, dict[str, Any]]] = {
        "softmax": ("linear", {}),
        "LDA": ("gaussian", {}),
        "DGMMC-S, G = 1, not trained": ("mixture", {"C": 0}),
    }
    heads |= {f"DGMMC-S, G = {count}": ("mixture", {"components": count}) for count in COMPONENTS}
    heads["DGMMC-S, G = 1, one variance each"] = ("mixture", {"metric": "col"})
    heads["SDGM-D"] = ("mixture", {"model": "sdgm-d"})
    if task in PRODUCTS:
        heads["SDGM-F"] = ("mixture", {"model": "sdgm-f"})
    reduced = ("softmax", "LDA", "DGMMC-S, G = 1")
    return heads | {f"{name}, PCA": (heads[name][0], {**heads[name][1], **PCA}) for name in reduced}


def study(store: Store, vectors: Vectors, encoder: str) -> tuple[list[Finding], list[Table]]:
    """Test all claims on one encoder's vectors of one task."""
    rows = Rows(store, vectors.task, (encoder,), store.snapshot())
    heads = {name: learned(*head, rows) for name, head in heads_of(vectors.task).items()}
    right = {name: rights(head, vectors, encoder) for name, head in heads.items()}
    where = f"{vectors.task}, {encoder}"
    findings = [
        compared(ONE, where, right, "DGMMC-S, G = 1", "softmax", MOST_BEHIND),
        compared(TIED, where, right, "LDA", "softmax", MOST_BEHIND),
        *(compared(MORE, where, right, "DGMMC-S, G = 1", f"DGMMC-S, G = {G}", 0.0) for G in COMPONENTS[1:]),
    ]
    reduced = ("softmax", "LDA", "DGMMC-S, G = 1")
    findings += [compared(REDUCED, where, right, f"{head}, PCA", head, MOST_LOST) for head in reduced]
    return findings, [table(vectors, encoder, heads, right)]


def compared(claim: str, where: str, right: dict[str, Right], one: str, other: str, most: float) -> Finding:
    """Return the finding that `one` is at most `most` worse than `other` on the same test rows."""
    apart, low, high = paired_interval(right[one], right[other])
    figure = f"{one} {right[one].mean():.3f}, {other} {right[other].mean():.3f}: {points(apart, low, high)}"
    return Finding(claim, where, figure, bool(apart >= -most - 1e-12), sure=not low < -most <= high)


def points(apart: float, low: float, high: float) -> str:
    return f"{100 * apart:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def learned(kind: str, given: Mapping[str, Any], rows: Rows) -> Head:
    """Return the head that training gives, not calibrated."""
    head: Head = KINDS[kind].learned(make_estimator(kind, given), rows).head
    return head


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
    test, true = vectors.part(encoder, "test")
    return [(best.predict(test) == true).astype(np.float64)], ", ".join(f"{n} {value:g}" for n, value in kept.items())


def validation_nll(head: HeadClassifier, X: NDArray[Any], codes: NDArray[np.int64]) -> float:
    """Return the NLL at the best temperature, so that the choice does not depend on calibration."""
    scores = head.scores(X)
    return mean_nll(scores, codes, fit_temperature(scores, codes))


def rights(head: Head, vectors: Vectors, encoder: str) -> Right:
    X, codes = vectors.part(encoder, "test")
    found = np.array(head.classes)[head.scores(X).argmax(axis=1)]
    return (found == np.array(vectors.classes)[codes]).astype(np.float64)


def described(head: Head) -> str:
    """Return the parameters that training chose or was given, as text."""
    settings = head.settings()
    kept = [f"{name} {settings[name]:.3g}" for name in KEPT if isinstance(settings.get(name), float | int)]
    return ", ".join(kept)


def table(vectors: Vectors, encoder: str, heads: Mapping[str, Head], right: Mapping[str, Right]) -> Table:
    rows = tuple(
        (vectors.task, encoder, name, f"{right[name].mean():.3f}", described(head), str(len(right[name])))
        for name, head in heads.items()
    )
    return Table("Test accuracy", ("data", "encoder", "head", "accuracy", "chosen", "test rows"), rows)
