"""Parts of the rows that a head predicts, grouped by the inputs that their rows have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.published.inputs import Input
from store.rows import Column

STEP_ROWS = 1024
"""Rows that a head answers at a time: its arrays then stay in the processor's cache."""

Group = tuple[PublishedHead, NDArray[np.intp], NDArray[np.float32]]
"""The head that answers, the numbers of the rows that it answers, and their vectors (m, d)."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of the source.

    Attributes:
        source_rows: number of rows that were read.
        ids: the rows that may be predicted, (n,).
        groups: those of them that have the inputs that the head needs.
        paths, truths: of each row, (n,); None if they are looked up by id.
    """

    source_rows: int
    ids: Column
    groups: list[Group]
    paths: Column | None = None
    truths: Column | None = None

    def steps(self) -> Iterator[Group]:
        """Yield the groups in steps of at most `STEP_ROWS` rows."""
        for head, rows, X in self.groups:
            for start in range(0, len(rows), STEP_ROWS):
                step = slice(start, start + STEP_ROWS)
                yield head, rows[step], X[step]


def groups(
    head: PublishedHead, inputs: Sequence[Input], have: NDArray[np.bool_], blocks: Sequence[NDArray[np.float32]]
) -> Iterator[Group]:
    """Yield the rows that have the same inputs, with the head for these inputs. Rows without enough are left out.

    Args:
        inputs: the inputs of the columns of `have`.
        have: True where a row has the input, (n, number of inputs).
        blocks: the vectors of each input, (n, d) each.
    """
    for pattern in np.unique(have, axis=0):
        there = [each for each, has in zip(inputs, pattern, strict=True) if has]
        if head.can_answer(there):
            rows = np.flatnonzero((have == pattern).all(axis=1))
            answering = head.from_some(there)
            order = [inputs.index(each) for each in answering.inputs]
            yield answering, rows, np.concatenate([blocks[column][rows] for column in order], axis=1)
