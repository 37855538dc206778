"""Vectors and tokens of derived encoders, computed from the stored ones of their parents without decoding an image."""

import math
from collections.abc import Callable, Sequence
from typing import Any

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


def from_parent(store: Store, encoder: Encoder, features: Features, tokens: Features | None) -> int:
    """Write the rows of a derived encoder whose parent rows are stored; return how many assets got all they need.

    Returns 0 for an encoder that is not derived, and for a parent without stored rows.

    Args:
        features: table of the derived encoder's vectors.
        tokens: table of its tokens; None to write none.
    """
    if not isinstance(encoder, DerivedEncoder):
        return 0
    parent, adapter = encoder.spec.parent or "", encoder.adapter
    try:
        if tokens is None:
            return fill(store.features(parent), features, adapter.change_vectors)
        fill(store.tokens(parent), tokens, adapter.change_tokens)
        return fill(store.features(parent), features, adapter.change_vectors, among=tokens.ids().combine_chunks())
    except UnknownFeatures:
        return 0


def fill(
    parent: Features,
    table: Features,
    change: Change,
    on_progress: OnProgress[Step] = ignore,
    among: Column | None = None,
) -> int:
    """Write the changed form of every row that `parent` has and `table` has not; return how many.

    The process may be killed at any time: written rows stay, and the next call writes the others.

    Args:
        change: makes rows of the derived encoder from rows of the parent.
        among: write only rows with these ids; None for all.
    """
    missing = _missing(parent, table, among)
    rows = max(1, COMMIT_BYTES // (4 * math.prod(parent.shape)))
    written = 0
    for ids, X in parent.stream(missing, rows):
        written += table.put(ids, change(X))
        on_progress(Step(written, len(missing), "vectors adapted"))
    return written


def _missing(parent: Features, table: Features, among: Column | None) -> Sequence[str]:
    """Return the ids that `parent` has and `table` has not, in the order of `parent`."""
    have = parent.ids().combine_chunks()
    if among is not None:
        have = have.filter(pc.is_in(have, value_set=among))
    return strings(have.filter(pc.invert(pc.is_in(have, value_set=table.ids().combine_chunks()))))
