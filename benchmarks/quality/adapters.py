"""Paper 4 (MLCD, arXiv 2407.17331): an adapter that learns from clusters, without labels, makes vectors better.

The adapter learns from the training rows of each data set, with the defaults of `headwater adapt`. Two classifiers
judge the vectors; neither is tuned on test rows. The first is 20 nearest neighbours by cosine, weighted by
exp(cos / 0.07), as is usual for this family of papers. The second is softmax on unit-norm vectors. Its penalty is
chosen by NLL on a fifth of the training rows, with a second adapter that did not learn from this fifth.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.gaussians import Right, points, validation_nll
from benchmarks.quality.study import Finding, Study, Table
from benchmarks.quality.vectors import Vectors, paired_interval
from classifiers.clustering.clusters import Clustering, centred
from classifiers.clustering.kmeans import adapter_clusters, fit_centres
from classifiers.evaluation.neighbours import NEIGHBOURS, nearest_class
from classifiers.fit.discrimination.adapter import fit_adapter
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.fit.held_out import stratified_folds
from classifiers.fit.linear import LinearClassifier
from embedder.derived.adapter import Adapter
from store import Store

PAPER = "Cluster discrimination (MLCD, arXiv 2407.17331)"
TASKS = ("caltech99", "cifar10_10k")
ENCODER = "lite0"
RECIPES = {
    "MLCD, l = 1": Recipe(nearest=1),
    "MLCD, l = 4": Recipe(nearest=4),
    "MLCD, l = 8": Recipe(nearest=8),
    "MLC, l = 8": Recipe(nearest=8, loss="mlc"),
}
PENALTIES = (0.01, 0.1, 1.0, 10.0)

PAIRS = {
    "an adapter learned from clusters (MLCD, l = 8) is better than raw vectors": ("MLCD, l = 8", "raw"),
    "eight positive centres are better than one": ("MLCD, l = 8", "MLCD, l = 1"),
    "MLCD is better than MLC": ("MLCD, l = 8", "MLC, l = 8"),
}
"""The claims of the paper: {claim: (vectors that should be better, vectors to compare with)}."""

Map = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A function from raw vectors (n, d) to adapted vectors (n, D)."""


def studies(store: Store, load: Any) -> list[Study]:
    """Return one study for each task."""
    settings = {"recipes": list(map(str, RECIPES.values())), "neighbours": NEIGHBOURS, "penalties": PENALTIES}
    found: list[Study] = []
    for task in TASKS:
        vectors: Vectors = load(store, task)
        run = partial(study, vectors)
        found.append(Study(PAPER, f"adapters, {task}", __file__, vectors.digest, run, settings))
    return found


def study(vectors: Vectors) -> tuple[list[Finding], list[Table]]:
    """Test all claims on one task."""
    right = {"raw": judged(vectors, lambda _: lambda X: X)}
    right |= {name: judged(vectors, partial(adapter, recipe)) for name, recipe in RECIPES.items()}
    findings = []
    for claim, (one, other) in PAIRS.items():
        for judge in right[one]:
            apart, low, high = paired_interval(right[one][judge], right[other][judge])
            told = f"{right[one][judge].mean():.3f}, {other} {right[other][judge].mean():.3f}"
            figure = f"{one} {told}: {points(apart, low, high)}"
            where = f"{vectors.task}, {ENCODER}, {judge}"
            findings.append(Finding(claim, where, figure, apart > 0, sure=not low <= 0 <= high))
    rows = tuple(
        (vectors.task, name, *(f"{each.mean():.3f}" for each in judges.values())) for name, judges in right.items()
    )
    return findings, [Table("Test accuracy without and with an adapter", ("data", "vectors", *right["raw"]), rows)]


def adapter(recipe: Recipe, X: NDArray[np.float32]) -> Map:
    """Learn an adapter from raw vectors X (n, d)."""
    mean, centres = fit_centres(X, adapter_clusters(len(X), recipe.nearest), seed=recipe.seed)
    nearest, _ = Clustering(ENCODER, "", mean, centres).assign(X, recipe.nearest)
    return Adapter({"mean": mean, **fit_adapter(centred(X, mean), centres, nearest, recipe).arrays})


def judged(vectors: Vectors, learn: Callable[[NDArray[np.float32]], Map]) -> dict[str, Right]:
    """Return the right test rows of each judge, on vectors of a map that was learned from the training rows."""
    X, codes = vectors.part(ENCODER, "train")
    T, wanted = vectors.part(ENCODER, "test")
    turned = learn(X)
    head = LinearClassifier(C=penalty(X, codes, learn), norm="unit").fit(turned(X), codes)
    near = nearest_class(turned(X), codes, turned(T), len(vectors.classes))
    return {"20 nearest": (near == wanted).astype(np.float64), "softmax": (head.predict(turned(T)) == wanted) * 1.0}


def penalty(X: NDArray[np.float32], codes: NDArray[np.int64], learn: Callable[[NDArray[np.float32]], Map]) -> float:
    """Return the C with the least NLL on a fifth of the rows, with a map that did not learn from this fifth."""
    held = stratified_folds(codes, 5, np.random.default_rng(0)) == 0
    turned = learn(X[~held])
    seen, unseen = turned(X[~held]), turned(X[held])
    heads = [LinearClassifier(C=C, norm="unit").fit(seen, codes[~held]) for C in PENALTIES]
    return PENALTIES[int(np.argmin([validation_nll(head, unseen, codes[held]) for head in heads]))]
