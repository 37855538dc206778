"""Snapshots: the version of every table at one moment, so that the same rows can be read again."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from store.lance.database import Database
from store.lance.table import ABSENT, Table
from store.schema import FORMAT, now


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The version of each table at one moment. A table without a version did not exist, and reads as empty."""

    at: datetime
    versions: dict[str, int]

    def of(self, table: Table) -> int:
        """Return the pinned version, or ABSENT for a table that did not exist."""
        return self.versions.get(table.name, ABSENT)

    def to_json(self) -> str:
        """Return the snapshot as JSON, for `from_json`."""
        record = {"format": FORMAT, "at": self.at.isoformat(), "versions": self.versions}
        return json.dumps(record, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        try:
            record = json.loads(text)
            if record["format"] != FORMAT:
                raise ValueError(f"the snapshot has layout {record['format']}; this version reads {FORMAT}")
            versions = {str(name): int(version) for name, version in record["versions"].items()}
            return cls(datetime.fromisoformat(record["at"]), versions)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a snapshot: {text[:200]!r}") from error


def take(database: Database) -> Snapshot:
    """Return the newest version of every table."""
    handles = {name: database.open(name) for name in database.names()}
    return Snapshot(now(), {name: int(handle.version) for name, handle in handles.items() if handle is not None})
