"""The quarantine: items that could not be processed, with the stage and the reason, so that none is lost silently."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from store.errors import Unavailable
from store.lance.database import Database
from store.lance.table import FEW, Table
from store.rows import quoted
from store.schema import QUARANTINE, Quarantined, now

_ROUNDS = 100
_SAID = ["key", "stage", "reason", "message"]


class Quarantine:
    """The table `quarantine`, with one row for each (key, stage)."""

    def __init__(self, database: Database) -> None:
        self.table = Table(database, "quarantine", QUARANTINE)

    def put(self, rows: Iterable[Quarantined]) -> int:
        """Record failures, and return the number of distinct (key, stage).

        A failure that is already recorded has its `tries` raised by one, also if several processes report it at once.
        """
        waiting = {(row.key, row.stage): row for row in rows}
        count = len(waiting)
        for _ in range(_ROUNDS):
            if not waiting:
                return count
            waiting = self._put_once(waiting)
        raise Unavailable(
            f"other processes kept changing {len(waiting)} rows of the quarantine during {_ROUNDS} attempts; try again"
        )

    def _put_once(self, rows: dict[tuple[str, str], Quarantined]) -> dict[tuple[str, str], Quarantined]:
        """Try one compare-and-set, and return the rows that another process changed meanwhile."""
        tries = self._tries(list(rows))
        at = now()
        given = [
            {"key": r.key, "stage": r.stage, "reason": r.reason, "message": r.message, "at": at}
            | {"tries": tries.get(name, 0) + 1}
            for name, r in rows.items()
        ]
        table = pa.Table.from_pylist(given, schema=QUARANTINE)
        merged = self.table.upsert(table, where="target.tries = source.tries - 1")
        if merged.rows == len(given):
            return {}
        # In the version that the merge created, exactly the rows with our time were written by us.
        stored = self.table.read(["key", "stage", "at"], where=_where(list(rows)), version=merged.version)
        done = {(row["key"], row["stage"]) for row in stored.to_pylist() if row["at"] == at}
        return {name: row for name, row in rows.items() if name not in done}

    def _tries(self, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        rows = self.table.read(["key", "stage", "tries"], where=_where(names)).to_pylist()
        return {(row["key"], row["stage"]): row["tries"] for row in rows}

    def clear(self, keys: Iterable[str], stage: str) -> None:
        """Remove the failures of `keys` at `stage`, e.g. after a retry that succeeded."""
        listed = list(dict.fromkeys(keys))
        for start in range(0, len(listed), FEW):
            some = ", ".join(map(quoted, listed[start : start + FEW]))
            where = f"stage = {quoted(stage)} AND key IN ({some})"
            self.table.delete(where)

    def remove(self, stage: str | None = None) -> int:
        """Remove the failures of one stage or of all, and return their number."""
        return self.table.delete(_stage(stage) or "true")

    def count(self, stage: str | None = None) -> int:
        """Return the number of failures, of one stage or of all."""
        return self.table.count(_stage(stage))

    def get(self, stage: str | None = None) -> pa.Table:
        """Return the failures of one stage or of all: key, stage, reason, message, tries, at (UTC)."""
        return self.table.read(QUARANTINE.names, where=_stage(stage))

    def page(self, *, start: int = 0, rows: int = 100) -> tuple[int, list[Quarantined]]:
        """Return the number of failures, and some of them in stored order."""
        count = self.count()
        if start >= count:  # LanceDB takes no offset above 2**32
            return count, []
        found = self.table.scan(_SAID, share=(start, rows))
        return count, [Quarantined(**row) for batch in found for row in batch.to_pylist()]


def _stage(stage: str | None) -> str | None:
    return None if stage is None else f"stage = {quoted(stage)}"


def _where(names: Sequence[tuple[str, str]]) -> str | None:
    """Return an SQL filter that at least the rows of `names` pass; None, which all rows pass, for many names."""
    keys = {key for key, _ in names}
    return f"key IN ({', '.join(map(quoted, keys))})" if len(keys) <= FEW else None
