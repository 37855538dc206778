"""Few-shot curves: how good several heads are that learn from k training rows of each class."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from classifiers.compare.candidates import Candidate
from classifiers.errors import BadParameter, NotTrainable
from classifiers.training.growth import SPLITS
from classifiers.training.kinds import CLASS_KINDS, make_estimator
from classifiers.training.rows.row_f1 import f1, known_rows
from classifiers.training.rows.rows import LabelledRows, Rows, Texts
from store import Store

SHOTS = (1, 2, 4, 8, 16)
"""Numbers of training rows per class that are tried by default."""

DRAWS = 5
"""Default number of random draws of these rows."""

MEANS = "gaussian norm=unit covariance=tied-spherical shrinkage=0 priors=uniform"
WITHOUT_TEXTS = (MEANS, "gaussian norm=unit", "linear norm=unit")
WITH_TEXTS = ("zeroshot", "zeroshot blend=auto", "zeroshot blend=lp++")
"""Heads that are tried by default: the nearest class mean, the two usual heads, and, for encoders with a text side, the
class names alone and blended with the rows in two ways."""


@dataclass(frozen=True, slots=True)
class Point:
    """The accuracy of a head that learned from `shots` training rows of each class, in 0…1.

    Attributes:
        value: mean over the draws.
        low, high: 95 % interval of the mean over draws, by Student's t; None for one draw.
        draws: accuracy of each draw.
    """

    shots: int
    value: float
    low: float | None
    high: float | None
    draws: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FewShot:
    """The few-shot curves of several heads.

    Attributes:
        split: split of the rows that measured them, and `held_out` their number.
        rows: {k: number of training rows}. A class with fewer than k rows has all its rows.
        curves: {head: its points}. A number of rows from which a head cannot be learned has no point.
        reasons: {head: why it has no point for some k}.
    """

    split: str
    held_out: int
    rows: dict[int, int]
    curves: dict[str, tuple[Point, ...]]
    reasons: dict[str, str]

    def best(self) -> dict[int, str]:
        """Return the head with the highest accuracy for each k."""
        found: dict[int, tuple[float, str]] = {}
        for name, points in self.curves.items():
            for point in points:
                found[point.shots] = max(found.get(point.shots, (-1.0, "")), (point.value, name))
        return {shots: name for shots, (_, name) in sorted(found.items())}

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes and the best heads; JSON-serialisable."""
        return {**asdict(self), "best": self.best()}


def few_shot(
    store: Store,
    task: str,
    encoders: Sequence[str],
    candidates: Sequence[Candidate],
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
    texts: Texts | None = None,
    on_head: Callable[[int, int], None] = lambda *_: None,
) -> FewShot:
    """Learn each head from k rows of each class, in several draws, and measure all on the rows of `test`, or of `val`.

    The rows of a draw with a larger k include those with a smaller one. Heads see no validation rows: what they choose,
    they choose on the k rows. Nothing is published.

    Args:
        encoders: names or fingerprints; the vectors of several are set side by side.
        shots: numbers k ≥ 1 of rows per class.
        seed: seed of the choice of rows.
        on_head: called with the number of heads that are learned, and of all.

    Raises:
        BadParameter: `shots` or `draws` below 1, or a kind that gives a row any number of labels.
        UnknownTask, UnknownFeatures, NotTrainable: from the store and the rows; no held-out rows.
    """
    if min(*shots, draws, 1) < 1 or not shots:
        raise BadParameter(f"shots and draws must be at least 1, got {list(shots)} and {draws}")
    if several := [each.kind for each in candidates if each.kind not in CLASS_KINDS]:
        raise BadParameter(
            f"kind {several[0]!r} gives a row any number of labels; choose among {', '.join(CLASS_KINDS)}"
        )
    rows = Rows(store, task, tuple(encoders), store.snapshot(), texts=texts)
    classes = rows.classes()
    split, held = held_out(rows, classes)
    parts = {k: drawn(rows, classes, k, draws, seed) for k in sorted(set(shots))}
    values: dict[str, dict[int, list[float]]] = {each.settings: {} for each in candidates}
    reasons: dict[str, str] = {}
    done, total = 0, len(values) * len(parts) * draws
    for each in candidates:
        for k, some in parts.items():
            for part in some:
                try:
                    found = accuracy(each, part, classes, held)
                    values[each.settings].setdefault(k, []).append(found)
                except (NotTrainable, BadParameter) as error:
                    reasons.setdefault(each.settings, f"{k} per class: {error}")
                done += 1
                on_head(done, total)
    sizes = {k: some[0].labels.num_rows for k, some in parts.items()}
    curves = {
        name: tuple(point(k, found) for k, found in by_shots.items() if len(found) == draws)
        for name, by_shots in values.items()
    }
    return FewShot(split, sum(len(part.ids) for part in held), sizes, curves, reasons)


def held_out(rows: Rows, classes: tuple[str, ...]) -> tuple[str, list[LabelledRows]]:
    """Return the split that measures the heads, and its rows. Raises NotTrainable without any."""
    for split in SPLITS:
        if found := known_rows(rows, split, classes):
            return split, found
    raise NotTrainable(
        f"task {rows.task!r} has no row in split 'test' or 'val' with a vector and a class of its training rows; label "
        "some of these splits, and embed them"
    )


def drawn(rows: Rows, classes: tuple[str, ...], k: int, draws: int, seed: int) -> list[Rows]:
    """Return rows with k training rows of each class, or all that a class has, and without other splits."""
    matrix = rows.matrix("train", classes)
    order = np.argsort(matrix.ids)  # the same draws whatever the order of the rows is
    ids, codes = np.array(matrix.ids)[order], matrix.codes[order]
    found = []
    for draw in range(draws):
        mixed = np.random.default_rng((seed, draw)).permutation(len(ids))
        chosen = np.concatenate([mixed[codes[mixed] == code][:k] for code in np.unique(codes)])
        found.append(rows.narrowed(ids[chosen].tolist()))
    return found


def accuracy(candidate: Candidate, rows: Rows, classes: tuple[str, ...], held: Sequence[LabelledRows]) -> float:
    """Return the accuracy on held-out rows of a head that learns from all of `rows`. Raises NotTrainable."""
    estimator = make_estimator(candidate.kind, candidate.params, [features.name for features in rows.features])
    head = CLASS_KINDS[candidate.kind].learn_again(estimator, rows, classes)
    return float(f1(head, held, classes).mean())


def point(shots: int, values: Sequence[float]) -> Point:
    """Return the mean of the draws with its interval."""
    draws: NDArray[np.float64] = np.array(values)
    mean = float(draws.mean())
    if len(draws) < 2:
        return Point(shots, mean, None, None, tuple(values))
    half = float(student.ppf(0.975, len(draws) - 1) * draws.std(ddof=1) / np.sqrt(len(draws)))
    return Point(shots, mean, max(0.0, mean - half), min(1.0, mean + half), tuple(values))
