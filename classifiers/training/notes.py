"""Notes for the reader of a training report, one sentence each."""

from collections.abc import Iterator, Mapping
from typing import Literal

from classifiers.heads.base import Head
from classifiers.training.outliers import Outliers
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned

MOST_NAMED = 10
"""Maximum number of classes or labels that a note lists."""

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


def calibration_note(rows: Rows, learned: Learned[Head]) -> Iterator[str]:
    """Yield a note on the rows that a head is calibrated on, unless these are validation rows."""
    if not learned.validated:
        yield (
            "No validation rows with a vector, or too few training rows to hold some out: the temperature stays 1, and "
            "there are no prediction sets."
        )
    elif not rows.labelled("val").num_rows:
        source = (
            "training rows that were held out, fold by fold, from heads made only for that; outlier percentiles come "
            "from the same rows, each left out in turn"
            if any(learned.counts)
            else "the training rows, whose labels the head did not learn from"
        )
        yield f"No validation rows: temperature and prediction sets come from {source}."
