"""Rows with any number of labels, as training and evaluation read them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.training.rows import BATCH_ROWS, Rows


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Some rows: their ids (n), X (n, d) and which labels each has, Y bool (n, L)."""

    ids: list[str]
    X: NDArray[Any]
    Y: NDArray[np.bool_]


class LabelRows(Rows):
    """One task's rows with any number of labels each, none included."""

    def classes(self) -> tuple[str, ...]:
        """The labels of the training rows, sorted. Raises UnknownTask; NotTrainable for fewer than two."""
        training = self.labelled("train")
        names = {str(label) for label in pc.unique(pc.list_flatten(training["labels"])).to_pylist()}
        if len(names) < 2:
            raise NotTrainable(
                f"task {self.task!r} has {training.num_rows} training rows with {len(names)} label(s) {sorted(names)}; "
                "a head needs at least 2 labels in the split 'train'"
            )
        return tuple(sorted(names))

    def text_edges(self) -> tuple[int, ...]:
        """Column edges of the encoders' text vectors."""
        return (0, *np.cumsum([features.spec.dim for features in self.features]).tolist())

    @property
    def one_each(self) -> bool:
        """Whether every row has exactly one label."""
        return bool((pc.list_value_length(self.labels["labels"]).to_numpy() == 1).all())

    def labelled_rows(self, split: str, classes: Sequence[str]) -> LabelledRows:
        """The rows of a split that have a vector of every encoder; labels outside `classes` are not looked at."""
        matrix = self.matrix(split, classes)
        return LabelledRows(matrix.ids, matrix.X, matrix.indicator)

    def parts(self, split: str, classes: Sequence[str]) -> Iterator[LabelledRows]:
        """The same, some rows at a time."""
        rows = self.labelled_rows(split, classes)
        for start in range(0, len(rows.ids), BATCH_ROWS):
            some = slice(start, start + BATCH_ROWS)
            yield LabelledRows(rows.ids[some], rows.X[some], rows.Y[some])


@dataclass(frozen=True, slots=True)
class LabelScored:
    """Rows under a head: scores float32 (n, L), and which labels each has, bool (n, L)."""

    scores: NDArray[np.float32]
    truth: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: LabelRows, head: LabelsHead, split: str) -> Self | None:
        """All rows of a split, their vectors not kept; None where there are none."""
        return cls.concatenate([cls(head.scores(each.X), each.Y) for each in rows.parts(split, head.classes)])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self | None:
        """All rows of all parts; None for no parts."""
        if not parts:
            return None
        return cls(np.concatenate([each.scores for each in parts]), np.concatenate([each.truth for each in parts]))
