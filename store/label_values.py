"""Labels as sources write them: which values mean no label, and what is wrong with the others.

Labels are stored in Unicode's composed form (NFC): macOS writes é in a file's name as two characters, and other systems
as one, but both are one class.
"""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from store.rows import encodable

MISSING = -1
"""Number of a Hugging Face ClassLabel that means no label, as in the test rows of a competition."""


class Fault(NamedTuple):
    """What can be wrong with a label, as a user reads it for one row and for several."""

    one: str
    several: str


FAULTS = {
    "unnamed_class": Fault(
        "row has the number of a class that has no name; it got no label",
        "rows have the number of a class that has no name; they got no label",
    ),
    "missing_label": Fault(
        f"row has {MISSING} or NaN as its label, which means no label",
        f"rows have {MISSING} or NaN as their label, which means no label",
    ),
    "blank_label": Fault("row has a blank label, which was left out", "rows have a blank label, which was left out"),
    "repeated_label": Fault(
        "row has the same label several times; it counts once", "rows have the same label several times; it counts once"
    ),
}
"""What can be wrong with a label, by a short fixed word."""


class ReadLabels(NamedTuple):
    """The labels of one row, None if they are unknown, and {word of `FAULTS`: the value} of what is wrong with them."""

    labels: list[str] | None
    faults: Mapping[str, str]


@dataclass(slots=True)
class Faulty:
    """Number of rows with each fault, and the first row of each as an example."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, faults: Mapping[str, str]) -> None:
        """Count the faults of the row at `place`."""
        for word, value in faults.items():
            self.counts[word] = self.counts.get(word, 0) + 1
            self.examples.setdefault(word, f"{place} ({value})")

    def said(self) -> dict[str, str]:
        """Return a sentence for each fault, by its word: how many rows have it, and an example."""
        return {
            word: f"{count:,} {FAULTS[word][count > 1]}, e.g. {self.examples[word]}"
            for word, count in self.counts.items()
        }


def composed(label: str) -> str:
    """Return a label in Unicode's composed form (NFC)."""
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def read_labels(values: Iterable[object], names: Sequence[str] = ()) -> ReadLabels:
    """Return the labels that the values of one row give.

    A null, NaN, blank text, and -1 where numbers have names give no label; a row that has only these is one whose
    labels are unknown. No values at all mean that none of the labels applies. With a number that has no name, all
    labels of the row are unknown: the rest would be a wrong set. Equal labels count once.

    Args:
        names: the names that whole numbers stand for, as in a ClassLabel of Hugging Face; () if numbers are labels.
    """
    given, found, faults = list(values), dict[str, None](), dict[str, str]()
    for value in given:
        label, fault = _read(value, names)
        fault = "repeated_label" if label in found else fault
        if fault is not None:
            faults.setdefault(fault, repr(value) if fault == "blank_label" else encodable(str(value))[:80])
        if label is not None:
            found[label] = None
    unknown = "unnamed_class" in faults or (given and not found)
    return ReadLabels(None if unknown else list(found), faults)


def _read(value: object, names: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the label that a value gives, or None, and the word of what is wrong with the value, or None."""
    if value is None:
        return None, None
    if isinstance(value, float) and math.isnan(value):
        return None, "missing_label"
    if names and isinstance(value, int | float) and not isinstance(value, bool):
        if value == MISSING:
            return None, "missing_label"
        if not (0 <= value < len(names) and value == int(value)):
            return None, "unnamed_class"
        value = names[int(value)]
    label = composed(encodable(text_of(value)))
    return (label, None) if label else (None, "blank_label")


def text_of(value: object) -> str:
    """Return a value as text without spaces around it: whole numbers without a point, nothing for null and NaN."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    return "" if value is None else str(value).strip()


def group_of(value: object) -> str | None:
    """Return the group that a value names, e.g. a speaker; None for null, NaN and blank text."""
    return composed(encodable(text_of(value))) or None
