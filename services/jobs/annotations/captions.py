"""Tells captions, which are sentences about one file each, from names of classes."""

from collections.abc import Mapping
from statistics import median

LEAST_TEXTS = 20
"""Number of different labels below which they are taken as classes: a few sentences may well be classes."""

LEAST_WORDS = 4
"""Median number of words from which labels are sentences. That of the names of ImageNet's classes is 2."""

DISTINCT = 0.9
"""Least share of the labels that only one row has."""


def are_captions(classes: Mapping[str, Mapping[str, int]]) -> bool:
    """Return True if labels look like captions: many texts of several words, nearly all of one row only.

    Words are divided by spaces, so captions in Chinese or Japanese are not recognised.

    Args:
        classes: {label: {split: number of rows}}; "" stands for rows without a label, and is ignored.
    """
    rows = {label: sum(splits.values()) for label, splits in classes.items() if label}
    if len(rows) < LEAST_TEXTS or median(len(label.split()) for label in rows) < LEAST_WORDS:
        return False
    return sum(count == 1 for count in rows.values()) >= DISTINCT * len(rows)
