"""Heads that know their labels by the vectors of texts, and so can be given others."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadVectors
from classifiers.heads.base import check_vectors
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.heads.transform import unit_rows


def check_text(vectors: ArrayLike, count: int, width: int | None = None) -> NDArray[np.float32]:
    """Text vectors, float32 (count, width), brought to norm 1.

    Args:
        count, width: that they must have; None for any width.

    Raises:
        BadVectors: another number or width, values that are not finite, or a vector of zeros.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or len(given) != count:
        raise BadVectors(f"expected {count} text vectors, one a label, as ({count}, width); got shape {given.shape}")
    rows = check_vectors(given, given.shape[1] if width is None else width)
    nonzero = rows.any(axis=1)
    if not nonzero.all():
        raise BadVectors(f"text vector {int(np.argmin(nonzero))} is zero: it has no direction, so it names nothing")
    return unit_rows(rows)


class TextHead(LabelsHead):
    """A head with one frozen text vector a label.

    Attributes:
        text: float32 (L, t), of norm 1; None for a head that has learned its labels by heart.
    """

    @property
    @abstractmethod
    def text(self) -> NDArray[np.float32] | None: ...

    def with_labels(self, classes: Sequence[str], text: ArrayLike) -> Self:
        """The same head for other labels: nothing is retrained.

        Labels that it had and that come with the same text keep their scores, but for rounding, and their thresholds;
        the others get the common threshold.

        Args:
            classes: names (m,), m ≥ 1, each once.
            text: their vectors (m, t), of any norm, from the text side that gave the head's own.

        Raises:
            BadVectors: another width or number of vectors, or one that is zero.
            ValueError: names that repeat, none at all, or a head without text vectors.
        """
        if self.text is None:
            raise ValueError(
                f"this {self.kind} head knows only its {len(self.classes)} labels; train one with text vectors to "
                "ask it for others"
            )
        names = list(classes)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"labels must be named, at least one, each once; got {names[:20]}")
        arrays = {
            **self.arrays(),
            **self.thresholds.over(self.classes, names).arrays(),
            "text": check_text(text, len(names), self.text.shape[1]),
        }
        return type(self).from_arrays(arrays, {**self.meta(), "classes": names})
