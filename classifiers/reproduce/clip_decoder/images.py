"""The rows of one split, as the heads read them: pooled vectors, and tokens if the store has them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NoTokens
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.token_rows import ROWS_AT_ONCE, TokenRows, mapped, token_table

SINGLE = (
    "The decoder was not trained: encoder {} gives one vector for each image, not several tokens. The softmax of "
    "attention over a single token is 1, so the attention would give every label the same vector."
)
NOT_STORED = "The decoder was not trained: {}."


@dataclass(frozen=True, slots=True)
class Images:
    """Some rows with any number of labels.

    Attributes:
        ids: asset ids, (n,).
        vectors: pooled vectors, float32 (n, d).
        tokens: float16 (n, P, F), perhaps mapped from a file; None if they are not stored.
        truth: true if a row has a label, (n, L).
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    tokens: NDArray[np.float16] | None
    truth: NDArray[np.bool_]

    @classmethod
    def read(cls, rows: Rows, split: str, names: Sequence[str], *, tokens: bool) -> Self:
        """Return the rows of a split that have a vector and, with `tokens`, tokens. Raises NoDiskSpace."""
        pooled = rows.labelled_rows(split, names)
        if not tokens:
            return cls(pooled.ids, pooled.X, None, pooled.Y)
        stored = TokenRows(rows.store, rows.task, rows.encoders, rows.snapshot).labelled_rows(split, names)
        place = {id_: row for row, id_ in enumerate(pooled.ids)}
        both = np.array([row for row, id_ in enumerate(stored.ids) if id_ in place], np.intp)
        ids = [stored.ids[row] for row in both]
        order = [place[id_] for id_ in ids]
        return cls(ids, pooled.X[order], picked(stored.X, both), pooled.Y[order])

    def of(self, rows: NDArray[np.intp], labels: NDArray[np.intp]) -> Self:
        """Return some rows with some labels, by their numbers."""
        tokens = None if self.tokens is None else picked(self.tokens, rows)
        return type(self)([self.ids[row] for row in rows], self.vectors[rows], tokens, self.truth[np.ix_(rows, labels)])

    def parts(self, *, tokens: bool) -> Iterator[NDArray[np.float32]]:
        """Yield the rows as heads read them, a few at a time: vectors (m, d) or tokens (m, P · F)."""
        whole: NDArray[Any] = self.tokens if tokens and self.tokens is not None else self.vectors
        for start in range(0, len(whole), ROWS_AT_ONCE):
            some = whole[start : start + ROWS_AT_ONCE]
            yield some.reshape(len(some), -1).astype(np.float32)


def picked(tokens: NDArray[np.float16], rows: NDArray[np.intp]) -> NDArray[np.float16]:
    """Return some rows of tokens, mapped from a file of their own unless they are all."""
    if len(rows) == len(tokens):
        return tokens
    found = mapped((len(rows), *tokens.shape[1:]))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        found[start : start + ROWS_AT_ONCE] = tokens[rows[start : start + ROWS_AT_ONCE]]
    return found


def why_no_tokens(rows: Rows) -> str:
    """Return why no decoder can learn from the one encoder's rows; empty if its tokens are stored."""
    [features] = rows.features
    if features.spec.tokens is None or features.spec.tokens[0] < 2:
        return SINGLE.format(features.name)
    try:
        token_table(rows.store, rows.encoders)
    except NoTokens as error:
        return NOT_STORED.format(error)
    return ""
