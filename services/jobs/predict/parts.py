"""Rows that a head predicts, and their parts, grouped by the inputs that the rows have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.published.inputs import Input
from store import Quarantined
from store.rows import Column

STEP_ROWS = 1024
"""Rows that a head answers at a time: its arrays then stay in the processor's cache."""

S = TypeVar("S")

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
        failed: files that could not be read or embedded.
    """

    source_rows: int
    ids: Column
    groups: list[Group]
    paths: Column | None = None
    truths: Column | None = None
    failed: list[Quarantined] = field(default_factory=list)

    def steps(self) -> Iterator[Group]:
        """Yield the groups in steps of at most `STEP_ROWS` rows."""
        for head, rows, X in self.groups:
            for start in range(0, len(rows), STEP_ROWS):
                step = slice(start, start + STEP_ROWS)
                yield head, rows[step], X[step]


class Rows(Protocol[S]):
    """Rows to predict, in an order that stays the same. A share is some of them, as another process can read them."""

    @property
    def part_rows(self) -> int:
        """Rows of a part of the journal. A run that is stopped loses at most these and those that were read ahead."""

    @property
    def opener(self) -> "Opener[S]":
        """What another process needs to open the same rows."""

    def named(self, part: Part) -> tuple[Column, Column]:
        """Return the path of each row, and its labels: list<string>, null where they are unknown."""

    def parts(self, start: int) -> Iterator[Part]:
        """Yield the rows from source row `start` on."""

    def shares(self, start: int) -> Iterator[S]:
        """Yield the rows from source row `start` on in shares, in order."""

    def read(self, share: S) -> Iterator[Part]:
        """Yield the rows of a share. Those of all shares are the same parts as `parts` yields."""


class Opener(Protocol[S]):
    """Opens the same rows in another process. It is sent there, so it must be picklable."""

    def open(self, head: PublishedHead, threads: int) -> Rows[S]:
        """Return the rows. An encoder that is loaded for them gets so many threads."""


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
