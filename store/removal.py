"""Removes assets from every table of a store, and with them all that is known about them."""

from collections.abc import Iterator, Sequence
from itertools import chain

from store.errors import UnknownId
from store.lance.table import FEW, Table
from store.rows import among
from store.store import Store
from store.tables import features as feature_tables
from store.tables.identity import PREFIX


def remove_assets(store: Store, ids: Sequence[str]) -> dict[str, int]:
    """Remove assets with their labels, history of labels, vectors, tokens and quarantine rows.

    Returns {table: number of rows removed} of every table that had some. Assets are removed last: if the process is
    killed, remove them again. Older versions of the tables keep the rows, for snapshots, until `Store.optimize` removes
    these versions. Raises UnknownId, before anything is removed, if an asset is not stored.
    """
    listed = list(dict.fromkeys(ids))
    if missing := set(listed) - store.assets.exists(listed):
        raise UnknownId(sorted(missing))
    removed: dict[str, int] = {}
    for some in (listed[start : start + FEW] for start in range(0, len(listed), FEW)):
        with store.labels.turn():
            for table, key in _tables(store):
                if count := table.delete(among(key, some)):
                    removed[table.name] = removed.get(table.name, 0) + count
    return removed


def _tables(store: Store) -> Iterator[tuple[Table, str]]:
    """Yield every table with the name of its column of ids, the assets last."""
    yield store.labels.table, "id"
    yield store.labels.history.table, "id"
    yield store.quarantine.table, "key"
    for features in chain.from_iterable(feature_tables.stored(store.database, form) for form in PREFIX):
        yield features.table, "id"
    yield store.assets.table, "id"
