"""Tests whether a head is better than answers that ignore the vectors.

A fit can diverge, and labels can have nothing to do with the vectors. Both give a head that looks like any other, so
each training run compares its head with the most frequent class, or with labels that are shuffled over the rows.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.figures import Evaluation
from classifiers.evaluation.label_figures import mean_average_precision

LEVEL = 0.05
"""Chance that a head without any skill passes the check."""

SHUFFLES = 19
"""Number of shuffles. A head without skill has a better mAP than all 19 shuffles in 1 of 20 cases, which is `LEVEL`."""

FEW = 30
"""Number of rows below which a better head gets a note instead of a warning. With so few rows, even a good head passes
the check only if it is right on nearly all rows on which only one of the two answers is right."""

MAJORITY, GAP = 0.5, 0.1
"""Share of the rows of one class, and accuracy minus balanced accuracy, from which a note says that rare classes are
often missed."""

MOST_CELLS = 200_000
"""Maximum number of scores (rows × labels) to shuffle, which takes a fraction of a second; other rows are left out."""


def doubt_of_classes(found: Evaluation, majority: int) -> str | None:
    """Return a warning if a head is not shown to be better than always answering one class; None if it is.

    Returns None too if the head is better but has too few rows to show it, see `too_few_rows`.

    Only rows on which exactly one of the two answers is right count. A head without skill would be right on each of
    these rows with a probability of at most 1/2, so the sign test (exact McNemar test) is valid for any number of rows.

    Args:
        majority: column of the most frequent class.
    """
    won, lost = decided(found, majority)
    if shown(won, lost) or (won > lost and found.rows < FEW):
        return None
    constant, name = float(found.support[majority]) / found.rows, found.classes[majority]
    figures = f"accuracy {found.accuracy:.3f} against {constant:.3f} on {found.rows:,} rows that it did not learn from"
    if won <= lost:
        return f"This head is no better than always answering {name!r}: {figures}. Do not use it."
    return (
        f"This head is not shown to be better than always answering {name!r}: {figures}, which may be chance. "
        "Label more rows, or use another kind of head."
    )


def too_few_rows(found: Evaluation, majority: int, rows: str) -> str | None:
    """Return a note if a head is better than always answering one class, but has too few rows to show it.

    Returns None otherwise.

    Args:
        majority: column of the most frequent class.
        rows: what the rows are called, e.g. "validation rows".
    """
    won, lost = decided(found, majority)
    if won <= lost or found.rows >= FEW or shown(won, lost):
        return None
    return (
        f"Only {found.rows} {rows}: too few to show that the head is better than always answering "
        f"{found.classes[majority]!r}. Add {rows}."
    )


def decided(found: Evaluation, majority: int) -> tuple[int, int]:
    """Return two counts of rows: those where only the head is right, and those where only the constant answer is."""
    right = np.diag(found.confusion)
    return int(right.sum() - right[majority]), int(found.support[majority] - right[majority])


def shown(won: int, lost: int) -> bool:
    """Return True if a head without skill wins so many of these rows with at most the probability `LEVEL`."""
    return tail(won, won + lost) <= LEVEL


def imbalance(found: Evaluation, settings: Mapping[str, Any]) -> str | None:
    """Return a note if most rows have one class, and the head is much better on it than on the others; None otherwise.

    Args:
        settings: settings of the head; the note proposes uniform priors unless it has them.
    """
    share, majority = float(found.support.max()) / found.rows, found.classes[int(found.support.argmax())]
    if share <= MAJORITY or found.accuracy - found.balanced_accuracy < GAP or settings.get("priors") == "uniform":
        return None
    kind = "" if "priors" in settings else "a head of kind gaussian with "
    return (
        f"{share:.1%} of these rows have the class {majority!r}: accuracy {found.accuracy:.3f}, but balanced accuracy "
        f"{found.balanced_accuracy:.3f}. If every class matters the same, try {kind}priors=uniform."
    )


def doubt_of_labels(scores: NDArray[Any], truth: NDArray[np.bool_]) -> str | None:
    """Return a warning if the scores (n, L) rank rows no better for the true labels (n, L) than for shuffled labels.

    Returns None if they rank rows better.
    """
    most = max(1, MOST_CELLS // scores.shape[1])
    scores, truth = scores[:most], truth[:most]
    found, rng = mean_average_precision(scores, truth), np.random.default_rng(0)
    shuffled = [mean_average_precision(scores, truth[rng.permutation(len(truth))]) for _ in range(SHUFFLES)]
    if found > max(shuffled):
        return None
    return (
        f"This head is no better than random answers: mAP {found:.3f} on {len(truth):,} rows that it did not learn "
        f"from, and up to {max(shuffled):.3f} if their labels are shuffled. Do not use it."
    )


def tail(won: int, count: int) -> float:
    """Return the probability of at least `won` heads in `count` throws of a fair coin."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    heads = np.arange(won, count + 1)
    return float(np.exp(logs[count] - logs[heads] - logs[count - heads] - count * math.log(2)).sum())
