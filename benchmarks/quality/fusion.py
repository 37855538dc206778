"""Paper 2 (arXiv 2312.14400, 2405.17139): the gain from normalising vectors, and from fusing several backbones.

Members are LDA heads on lite0, lite1 and lite2. Shrinkage and normalisation are chosen by out-of-fold NLL, rules are
fitted on out-of-fold scores, and the best single encoder is the one with the best out-of-fold accuracy. Besides the
data set's own split there are five draws: random splits of all rows, with the same share of each class.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from benchmarks.quality.gaussians import points, tuned
from benchmarks.quality.study import Finding, Study, Table
from benchmarks.quality.vectors import ENCODERS, Vectors, paired_interval
from classifiers.evaluation.reports.fusion import disagreements, independent_oracle, oracle_accuracy, q_statistics
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.shrinkage import CANDIDATES
from classifiers.fit.linear import LinearClassifier
from classifiers.heads.fusion.rules import RULES, filled, log_softmax, weighted
from store import Store

PAPER = "Fusion of backbones (arXiv 2312.14400, 2405.17139)"
TASKS = ("clothing10", "caltech99", "cifar10_10k")
DRAWS = (0, 1, 2, 3, 4)
SHRINKAGES = (0.3, 0.6)
MOST_TRAINING = 2000
"""Maximum number of training rows of a draw. Draws show the spread; fusion matters most for small training sets."""

EARLIER = {
    "clothing10": {"best single": 0.906, "log-average": 0.914, "concatenation": 0.909, "oracle": 0.944},
    "caltech99": {"best single": 0.932, "log-average": 0.932, "concatenation": 0.938, "oracle": 0.956},
}
"""Figures of an earlier measurement with LDA heads on the same splits, which must be reached. It used a shrinkage for
each encoder, and chose the best single encoder on test rows. Only the comparison with these figures does so too."""

NORMALISING = "normalising the vectors changes the accuracy by more than chance (an interval without 0)"
ORACLE = "the oracle gains more over the best single encoder than three refits of one encoder do"
STACK, NLC = "static stacking is better than the best single encoder", "NLC is better than the best single encoder"
NO_GATE = "NLC is no better than static stacking (at most 0.5 points)"
REACHED = "the earlier figure is reached"

Right = NDArray[np.bool_]


def studies(store: Store, load: Any) -> list[Study]:
    """Return two studies for each task."""
    chosen = {"shrinkages": SHRINKAGES, "alone": CANDIDATES, "encoders": ENCODERS}
    settings = chosen | {"draws": DRAWS, "most training": MOST_TRAINING}
    made = []
    for task in TASKS:
        vectors: Vectors = load(store, task)
        for name, run in (("normalising", normalising), ("fusion", fusing)):
            made.append(Study(PAPER, f"{name}, {task}", __file__, vectors.digest, partial(run, vectors), settings))
    return made


def normalising(vectors: Vectors) -> tuple[list[Finding], list[Table]]:
    """Test each encoder and head on raw and on unit-norm vectors."""
    findings, rows = [], []
    heads = {
        "softmax": lambda norm: [LinearClassifier(C=C, norm=norm) for C in (0.001, 0.01, 0.1)],
        "LDA": lambda norm: [GaussianClassifier(shrinkage=s, norm=norm) for s in SHRINKAGES],
        "nearest mean": lambda norm: [GaussianClassifier("tied-spherical", shrinkage=0.0, norm=norm)],
    }
    for encoder, (head, candidates) in product(ENCODERS, heads.items()):
        raw, unit = (tuned(candidates(norm), vectors, encoder)[0][0] for norm in ("none", "unit"))
        apart, low, high = paired_interval(unit, raw)
        changed = low > 0 or high < 0
        where = f"{vectors.task}, {encoder}, {head}"
        findings.append(Finding(NORMALISING, where, f"unit norm minus raw: {points(apart, low, high)}", changed))
        rows.append((vectors.task, encoder, head, f"{raw.mean():.3f}", f"{unit.mean():.3f}"))
    return findings, [Table("Raw and unit-norm vectors", ("data", "encoder", "head", "raw", "unit"), tuple(rows))]


@dataclass(frozen=True)
class Fused:
    """The right test rows of each rule, and of each encoder alone (n, B), with the choices that led to them."""

    rules: dict[str, Right]
    alone: Right
    codes: NDArray[np.int64]
    predicted: NDArray[np.int64]
    refits: Right
    best: int
    chosen: str

    @property
    def single(self) -> Right:
        """The right test rows of the encoder that was best out of fold."""
        return self.alone[:, self.best]


def fusing(vectors: Vectors) -> tuple[list[Finding], list[Table]]:
    """Test all rules, on the data set's own split and on draws."""
    X, edges = vectors.joined()
    train, test = vectors.splits == "train", vectors.splits == "test"
    own = fused(X[train], vectors.codes[train], X[test], vectors.codes[test], edges)
    draws = []
    for seed in DRAWS:
        learning, testing = dealt(vectors.codes, int(train.sum()), int(test.sum()), seed)
        draws.append(fused(X[learning], vectors.codes[learning], X[testing], vectors.codes[testing], edges))
    where = f"{vectors.task}, {' + '.join(ENCODERS)}"
    found = [oracle_finding(where, own, draws)]
    found.append(gain(STACK, where, own, draws, "stack", None, 0.0, more=True))
    found.append(gain(NLC, where, own, draws, "nlc", None, 0.0, more=True))
    found.append(gain(NO_GATE, where, own, draws, "nlc", "stack", 0.005, more=False))
    found += reached(vectors, own)
    return found, [rules_table(vectors.task, own, draws), pairs_table(vectors.task, own)]


def dealt(codes: NDArray[np.int64], training: int, testing: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the numbers of a draw's training and test rows, (m,) each, with each class's share in the own split."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    turn = np.empty(len(codes))
    turn[order] = np.arange(len(codes)) * ((5**0.5 - 1) / 2) % 1.0  # evenly spread along the classes
    share = training / (training + testing)
    learning, tested = np.flatnonzero(turn < share), np.flatnonzero(turn >= share)
    few = min(1.0, MOST_TRAINING / len(learning))
    return learning[turn[learning] < share * few], tested


def fused(
    X: NDArray[Any], codes: NDArray[np.int64], T: NDArray[Any], truth: NDArray[np.int64], edges: tuple[int, ...]
) -> Fused:
    """Learn members and rules from X, and test them on T."""
    candidates = [
        FusionClassifier("stack", normalise=normalise, member_params={"shrinkage": shrinkage}, blocks=edges)
        for normalise, shrinkage in product((False, True), SHRINKAGES)
    ]
    fits = [candidate.fit(X, codes) for candidate in candidates]
    stack = fits[int(np.argmin([out_of_fold_nll(fit) for fit in fits]))]
    held = stack.out_of_fold_
    best = int((held.scores.argmax(axis=2) == held.codes[:, None]).mean(axis=0).argmax())
    blocks = stack.blocks_.of(T)
    scores = np.stack([member.scores(block) for member, block in zip(stack.members_, blocks, strict=True)], axis=1)
    predicted = {
        name: rule(said) for name, rule, said in uncalibrated_and_calibrated(scores, stack.combiner_.temperatures)
    }
    rules = {name: each.argmax(axis=1) == truth for name, each in predicted.items()}
    rules["stack"] = stack.predict(T) == truth
    for rule in ("nlc", "concatenation"):
        rules[rule] = clone(stack).set_params(rule=rule).fit(X, codes).predict(T) == truth
    alone = scores.argmax(axis=2)
    refits = refitted(stack.members_[best], stack.blocks_.of(X)[best], codes, blocks[best]) == truth[:, None]
    chosen = f"shrinkage {stack.member_params['shrinkage']:g}, {'unit norm' if stack.normalise else 'raw'}"
    return Fused(rules, alone == truth[:, None], truth, alone, refits, best, chosen)


def uncalibrated_and_calibrated(scores: NDArray[Any], temperatures: NDArray[Any]) -> Any:
    """Yield (name, rule, log-probabilities (n, B, K)) of each rule without weights, uncalibrated and calibrated."""
    for name, rule in RULES.items():
        yield name, rule, filled(log_softmax(scores))
        yield f"{name}, calibrated", rule, filled(log_softmax(scores, temperatures))


def out_of_fold_nll(fit: FusionClassifier) -> float:
    """Return the out-of-fold NLL of static stacking, which has too few weights to favour any candidate."""
    held = fit.out_of_fold_
    logs = filled(log_softmax(held.scores, fit.combiner_.temperatures))
    scores = weighted(logs, fit.combiner_.weights.astype(logs.dtype))
    return float(np.mean(np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(scores)), held.codes]))


def refitted(member: Any, X: NDArray[Any], codes: NDArray[np.int64], T: NDArray[Any]) -> NDArray[np.int64]:
    """Return the answers on T, (m, B), of B heads on one encoder, each learned from rows drawn with replacement."""
    rng = np.random.default_rng(0)
    chosen = []
    for _ in ENCODERS:
        drawn = rng.integers(0, len(X), len(X))
        head = GaussianClassifier(shrinkage=member.shrinkage).fit(X[drawn], codes[drawn])
        chosen.append(head.predict(T))
    return np.stack(chosen, axis=1)


def oracle_finding(where: str, own: Fused, draws: list[Fused]) -> Finding:
    gains = [oracle_accuracy(each.alone) - each.single.mean() for each in draws]
    controls = [oracle_accuracy(each.refits) - each.single.mean() for each in draws]
    here, low, high = paired_interval(own.alone.any(axis=1), own.single)
    control = oracle_accuracy(own.refits) - own.single.mean()
    figure = (
        f"oracle {oracle_accuracy(own.alone):.3f}, best single {own.single.mean():.3f}: {points(here, low, high)}; "
        f"refits {100 * control:+.1f}; with independent errors {independent_oracle(own.alone, own.codes):.3f}; "
        f"draws {deviation(gains)}, refits {deviation(controls)}"
    )
    agree = np.subtract(gains, controls) > 0
    return Finding(ORACLE, where, figure, bool(here > control), sure=bool(agree.all() or not agree.any()))


def gain(
    claim: str, where: str, own: Fused, draws: list[Fused], rule: str, than: str | None, limit: float, *, more: bool
) -> Finding:
    """Return the finding on a rule's gain over another rule, or over the best single encoder."""

    def sides(each: Fused) -> tuple[Right, Right]:
        return each.rules[rule], each.single if than is None else each.rules[than]

    apart, low, high = paired_interval(*sides(own))
    spread = [float(one.mean() - other.mean()) for one, other in map(sides, draws)]
    holds = apart > limit if more else apart <= limit
    figure = f"{points(apart, low, high)}; draws {deviation(spread)}"
    return Finding(claim, where, figure, bool(holds), sure=not low <= limit <= high)


def reached(vectors: Vectors, own: Fused) -> list[Finding]:
    """Return the findings on the earlier figures, on the data set's own split."""
    if vectors.task not in EARLIER:
        return []
    heads = [GaussianClassifier(shrinkage=shrinkage) for shrinkage in CANDIDATES]
    alone = np.stack([tuned(heads, vectors, encoder)[0][0] for encoder in ENCODERS], axis=1) > 0
    found = {name: float(right.mean()) for name, right in own.rules.items()}
    found |= {"best single": float(alone.mean(axis=0).max()), "oracle": oracle_accuracy(alone)}
    shared = {"best single": float(own.alone.mean(axis=0).max()), "oracle": oracle_accuracy(own.alone)}
    told = {name: f"; of the fused heads' members {figure:.3f}" for name, figure in shared.items()}
    return [
        Finding(
            REACHED,
            f"{vectors.task}, {name}",
            f"{found[name]:.3f}, earlier {figure:.3f}{told.get(name, '')}",
            round(found[name], 3) >= figure,
        )
        for name, figure in EARLIER[vectors.task].items()
    ]


def deviation(gains: list[float]) -> str:
    return f"{100 * np.mean(gains):+.1f} ± {100 * np.std(gains, ddof=1):.1f}"


def rules_table(task: str, own: Fused, draws: list[Fused]) -> Table:
    """Return the accuracy of each encoder and rule on the own split, and its gain over the best single encoder."""
    rows = []
    for column, encoder in enumerate(ENCODERS):
        note = f"best out of fold, {own.chosen}" if column == own.best else ""
        rows.append((task, encoder, f"{own.alone[:, column].mean():.3f}", "", "", note))
    for name, right in own.rules.items():
        gains = [float(each.rules[name].mean() - each.single.mean()) for each in draws]
        here = points(*paired_interval(right, own.single))
        rows.append((task, name, f"{right.mean():.3f}", here, deviation(gains), f"{len(right)} test rows"))
    header = ("data", "encoder or rule", "accuracy", "minus best single", "minus best single, draws", "")
    return Table("LDA heads on three encoders", header, tuple(rows))


def pairs_table(task: str, own: Fused) -> Table:
    apart, q = disagreements(own.predicted), q_statistics(own.alone)
    pairs = [(i, j) for i in range(len(ENCODERS)) for j in range(i)]
    rows = [(task, f"{ENCODERS[j]}, {ENCODERS[i]}", f"{apart[i, j]:.3f}", f"{q[i, j]:.2f}") for i, j in pairs]
    return Table(
        "How similar the encoders' errors are", ("data", "encoders", "disagree on", "Q statistic"), tuple(rows)
    )
