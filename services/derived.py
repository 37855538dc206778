"""Vectors of derived encoders from those of their parents, without decoding an image."""

from collections.abc import Callable

import pyarrow.compute as pc

from embedder.adapter import Adapter
from store import Features
from store.rows import strings

BATCH_ROWS = 16384
"""Rows a commit."""


def fill(parent: Features, table: Features, adapter: Adapter, on_progress: Callable[[int, int], None]) -> int:
    """Writes the adapted form of every vector that `parent` has and `table` lacks; how many. May be killed at any time.

    Args:
        on_progress: (written, of so many).
    """
    have = parent.ids().combine_chunks()
    missing = strings(have.filter(pc.invert(pc.is_in(have, value_set=table.ids().combine_chunks()))))
    written = 0
    for ids, X in parent.stream(missing, BATCH_ROWS):
        written += table.put(ids, adapter(X))
        on_progress(written, len(missing))
    return written
