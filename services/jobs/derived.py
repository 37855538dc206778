"""Vectors and tokens of derived encoders, computed from the stored ones of their parents without decoding an image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedder.derived.encoders import DerivedEncoder
from embedder.encoder import Encoder
from services.jobs.progress import OnProgress, Step, ignore
from store import Features, Store
from store.errors import UnknownFeatures
from store.rows import Column, strings

COMMIT_BYTES = 80 << 20
"""Bytes of parent rows held in memory, and written in one commit."""

Change = Callable[[NDArray[Any]], NDArray[Any]]
"""Rows (n, *shape) of the parent → rows of the derived encoder."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """The rows that a table of a derived encoder lacks and that can be computed from rows of its parent.

    Attributes:
        parent, table: the tables of both encoders, either of vectors or of tokens.
        change: makes rows of the derived encoder from rows of the parent.
        ids: ids of the rows, in the order of `parent`.
    """

    parent: Features
    table: Features
    change: Change
    ids: Column

    @classmethod
    def of(cls, parent: Features, table: Features, change: Change, among: Column | None = None) -> Self:
        """Find the rows that `parent` has and `table` lacks. With `among`, only ids in `among` count."""
        have = parent.ids().combine_chunks()
        if among is not None:
            have = have.filter(pc.is_in(have, value_set=among))
        return cls(parent, table, change, without(have, table.ids()))

    def write(self, on_progress: OnProgress[Step] = ignore) -> int:
        """Compute the rows and write them; return how many were written.

        The process may be killed at any time: written rows stay, and the next derivation finds the others.
        """
        rows, written = max(1, COMMIT_BYTES // (4 * math.prod(self.parent.shape))), 0
        for ids, X in self.parent.stream(strings(self.ids), rows):
            written += self.table.put(ids, self.change(X))
            on_progress(Step(written, len(self.ids), "vectors adapted"))
        return written


def from_parent(store: Store, encoder: Encoder, features: Features, tokens: Features | None) -> list[Derivation]:
    """Return what can be computed from stored rows of the parent of `encoder`, in the order to write it.

    The list is empty for an encoder that is not derived, and for a parent without stored rows. With `tokens`, vectors
    come after tokens and only with them, so that an asset with a vector is complete.

    Args:
        features: table of the derived encoder's vectors.
        tokens: table of its tokens; None to write none.
    """
    if not isinstance(encoder, DerivedEncoder):
        return []
    parent, adapter = encoder.spec.parent or "", encoder.adapter
    try:
        vectors = store.features(parent)
        if tokens is None:
            return [Derivation.of(vectors, features, adapter.change_vectors)]
        first = Derivation.of(store.tokens(parent), tokens, adapter.change_tokens)
    except UnknownFeatures:
        return []
    complete = pa.concat_arrays([tokens.ids().combine_chunks(), first.ids])
    return [first, Derivation.of(vectors, features, adapter.change_vectors, among=complete)]


def without(ids: Column, others: Column) -> Column:
    """Return those of `ids` that are not among `others`, in their order."""
    found: Column = ids.filter(pc.invert(pc.is_in(ids, value_set=others)))
    return found
