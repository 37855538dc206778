"""Heads that know their labels by text vectors, and so can score labels that no training row has."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.heads.multilabel.base import LabelsHead
from classifiers.heads.text import check_text


class TextHead(LabelsHead):
    """A head with one frozen text vector per label.

    Attributes:
        text: float32 (L, t), unit norm; None if the head was trained without text vectors.
    """

    @property
    @abstractmethod
    def text(self) -> NDArray[np.float32] | None: ...

    @property
    def knows_texts(self) -> bool:
        return self.text is not None

    def with_labels(self, classes: Sequence[str], text: ArrayLike) -> Self:
        """Return the head for other labels, without training.

        A label that the head has already and that comes with the same text vector keeps its score, up to rounding, and
        its threshold. New labels get the common threshold.

        Args:
            classes: names of the labels, unique, (m,) with m ≥ 1.
            text: vectors of their texts (m, t), of any norm, from the text encoder that the head was trained with.

        Raises:
            BadVectors: another width or number of vectors, or a vector of zeros.
            ValueError: names that repeat, no names, or a head without text vectors.
        """
        if self.text is None:
            return super().with_labels(classes, text)
        names = list(classes)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"labels must be at least one name, each once; got {names[:20]}")
        arrays = {
            **self.arrays(),
            **self.thresholds.over(self.classes, names).arrays(),
            "text": check_text(text, len(names), self.text.shape[1]),
        }
        return type(self).from_arrays(arrays, {**self.meta(), "classes": names})
