"""What a derived encoder would give, from what is stored of its parent, without decoding an image."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow.compute as pc
from numpy.typing import NDArray

from embedder.derived.encoders import DerivedEncoder
from embedder.encoder import Encoder
from store import Features, Store
from store.errors import UnknownFeatures
from store.rows import Column, strings

COMMIT_BYTES = 80 << 20
"""Of the parent's rows, in memory and in a commit."""

Change = Callable[[NDArray[Any]], NDArray[Any]]
"""Rows (n, *shape) of the parent → those of the derived encoder."""


def from_parent(store: Store, encoder: Encoder, features: Features, tokens: Features | None) -> int:
    """Writes what can be made of the rows that the parent has; how many assets are complete by that.

    Args:
        tokens: the table of the derived encoder's tokens, where they are wanted.
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
    on_progress: Callable[[int, int], None] = lambda *_: None,
    among: Column | None = None,
) -> int:
    """Writes the changed form of every row that `parent` has and `table` lacks; how many. May be killed at any time.

    Args:
        on_progress: (written, of so many).
        among: ids; no others are written.
    """
    missing = _missing(parent, table, among)
    rows = max(1, COMMIT_BYTES // (4 * math.prod(parent.shape)))
    written = 0
    for ids, X in parent.stream(missing, rows):
        written += table.put(ids, change(X))
        on_progress(written, len(missing))
    return written


def _missing(parent: Features, table: Features, among: Column | None) -> Sequence[str]:
    have = parent.ids().combine_chunks()
    if among is not None:
        have = have.filter(pc.is_in(have, value_set=among))
    return strings(have.filter(pc.invert(pc.is_in(have, value_set=table.ids().combine_chunks()))))
