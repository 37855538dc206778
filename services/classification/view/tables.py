"""The versions of a store's tables, as keys of what is computed from them."""

import hashlib
from dataclasses import dataclass

from store import Snapshot, Store

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a store at one moment. Without a store it has none."""

    store: Store
    snapshot: Snapshot

    @classmethod
    def of(cls, store: Store) -> "Tables":
        """Return the current versions."""
        return cls(store, store.snapshot())

    def __bool__(self) -> bool:
        """True if the store exists: it has a table."""
        return bool(self.snapshot.versions)

    def key(self, *names: str) -> Key:
        """Return what changes whenever one of these tables changes, or is removed and made again."""
        versions = self.snapshot.versions
        return tuple((name, versions.get(name), self.store.database.made(name)) for name in names)

    def digest(self, *, labels: bool = True) -> str:
        """Return a text that changes whenever any table changes; without `labels`, any but those of labels."""
        own = {self.store.labels.table.name, self.store.labels.history.table.name}
        names = [name for name in sorted(self.snapshot.versions) if labels or name not in own]
        return hashlib.blake2b(repr(self.key(*names)).encode(), digest_size=16).hexdigest()
