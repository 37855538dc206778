"""Notes for the reader of a training report, one sentence each."""

from collections.abc import Iterator, Mapping
from typing import Literal

from classifiers.evaluation.reports.report import Calibration
from classifiers.heads.base import Head
from classifiers.training.outliers import Outliers
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned
from classifiers.training.rows.task_rows import LEAST_VALIDATION

MOST_NAMED = 10
"""Maximum number of classes or labels that a note lists."""

UNCALIBRATED = (
    "No validation rows with a vector, or too few training rows to hold some out: the probabilities are uncalibrated, "
    "and only kept from being surer than so few rows allow; there are no prediction sets."
)

FEW = (
    "No validation rows with a vector, and only {} training rows that could be held out: they kept the probabilities "
    "from being too sure, but did not calibrate them; there are no prediction sets."
)

LEFT_OUT = {"one": "they have no vector, or a class that the head does not know", "any": "they have no vector"}


def notes(
    rows: Rows, used: Mapping[str, int], learned: Learned[Head], outliers: Outliers, targets: Literal["one", "any"]
) -> Iterator[str]:
    """Yield the notes that all kinds of heads have in common.

    Args:
        used: number of rows used, by split.
        targets: how many labels the rows have.
    """
    if not outliers.quantiles:
        yield f"No outlier percentiles: {outliers.lacks}."
    if not used["test"]:
        yield "No test rows: there are no figures on unseen rows."
    for split, count in used.items():
        labelled = rows.labelled(split).num_rows
        if count < labelled and (split != "train" or count):
            yield f"{split}: {labelled - count} of {labelled} labelled rows are left out: {LEFT_OUT[targets]}."
    if lost := sorted(set(learned.asked) - set(learned.head.classes)):
        names = ", ".join(lost[:MOST_NAMED]) + (", …" if len(lost) > MOST_NAMED else "")
        word = {"one": "classes", "any": "labels"}[targets]
        which = f"{len(lost)} of {len(learned.asked)} {word}"
        yield f"{which} have no training vector and are unknown to the head: {names}."


def calibration_notes(
    rows: Rows, learned: Learned[Head], *, on_val: bool, folds: bool = True, exclusive: bool = True
) -> Iterator[str]:
    """Yield notes on the rows that a head is calibrated on.

    Args:
        on_val: True if these are the rows of the split `val`.
        folds: True if training rows are held out fold by fold.
        exclusive: True for heads that give each row one class, which have prediction sets and outlier percentiles.
    """
    found = calibration_of(rows, learned, "val" if on_val else "", folds=folds)
    if found is None:
        few = sum(len(part.truth) for part in learned.few)
        yield FEW.format(few) if few else UNCALIBRATED
        return
    used = f"{found.rows:,} of {found.of:,}"
    if on_val:
        yield f"Calibrated on {used} validation rows."
    else:
        what = "temperature and prediction sets" if exclusive else "calibration and thresholds"
        yield f"{why_folds(rows)}: {what} come from {used} training rows{_how(rows, learned, folds, exclusive)}."
    if found.rows < LEAST_VALIDATION:
        sets = f", and no prediction set has a coverage above {found.rows / (found.rows + 1):.2f}" if exclusive else ""
        yield (
            f"Only {found.rows} rows to calibrate on: the probabilities may be far off{sets}. Label at least "
            f"{LEAST_VALIDATION} validation rows, or more training rows."
        )


def why_folds(rows: Rows) -> str:
    """Return the reason why training rows are held out, as the start of a sentence."""
    labelled, known = rows.labelled("val").num_rows, rows.known_validation
    if labelled and not known:
        return f"No validation row has a label of the training rows (of {labelled})"
    return f"Too few validation rows ({known}, not {LEAST_VALIDATION})" if labelled else "No validation rows"


def fold_by_fold(rows: Rows) -> str:
    """Return how training rows are held out."""
    return "group by group" if rows.grouped else "fold by fold"


def _how(rows: Rows, learned: Learned[Head], folds: bool, exclusive: bool) -> str:
    if not any(learned.counts):
        return ", whose labels the head did not learn from"
    if not folds:
        return " that were held out"
    outliers = "; outlier percentiles come from the same rows, each left out in turn" if exclusive else ""
    return f" that were held out, {fold_by_fold(rows)}, from heads made only for that{outliers}"


def calibration_of(rows: Rows, learned: Learned[Head], on: str, *, folds: bool = True) -> Calibration | None:
    """Return the rows that a head is calibrated on; None if on none.

    Args:
        on: "val", or the name of the held-out training rows in reports.
        folds: True if training rows are held out fold by fold.
    """
    if not learned.validated:
        return None
    used = sum(len(part.truth) for part in learned.validated)
    if on == "val":
        return Calibration(on, used, rows.labelled("val").num_rows, None)
    return Calibration(on, used, rows.labelled("train").num_rows, "groups" if folds and rows.grouped else "rows")
