"""Quarantine: what could not be processed, at which stage and why. Nothing is ever skipped silently."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from store.lance.table import FEW, Database, Table
from store.rows import quoted
from store.schema import QUARANTINE, Quarantined, now

_ROUNDS = 100


class Quarantine:
    """The table `quarantine`, one row a (key, stage)."""

    def __init__(self, database: Database) -> None:
        self.table = Table(database, "quarantine", QUARANTINE)

    def put(self, rows: Iterable[Quarantined]) -> int:
        """Record failures; `tries` of one that is there already goes up by one. Returns how many rows.

        Several processes may report the same key: every report counts.
        """
        waiting = {(row.key, row.stage): row for row in rows}
        count = len(waiting)
        for _ in range(_ROUNDS):
            if not waiting:
                return count
            waiting = self._put_once(waiting)
        raise RuntimeError(f"quarantine: {len(waiting)} rows kept changing under {_ROUNDS} attempts")

    def _put_once(self, rows: dict[tuple[str, str], Quarantined]) -> dict[tuple[str, str], Quarantined]:
        """One compare-and-set round. Returns the rows that another process changed in between."""
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
        # Read at the version just made: what carries our time there was written by us.
        stored = self.table.read(["key", "stage", "at"], where=_where(list(rows)), version=merged.version)
        done = {(row["key"], row["stage"]) for row in stored.to_pylist() if row["at"] == at}
        return {name: row for name, row in rows.items() if name not in done}

    def _tries(self, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        rows = self.table.read(["key", "stage", "tries"], where=_where(names)).to_pylist()
        return {(row["key"], row["stage"]): row["tries"] for row in rows}

    def clear(self, keys: Iterable[str], stage: str) -> None:
        """Forget these failures, e.g. after a retry that worked."""
        listed = list(dict.fromkeys(keys))
        for start in range(0, len(listed), FEW):
            some = ", ".join(map(quoted, listed[start : start + FEW]))
            where = f"stage = {quoted(stage)} AND key IN ({some})"
            if self.table.count(where):  # a delete makes a version even when nothing is there to delete
                self.table.delete(where)

    def count(self, stage: str | None = None) -> int:
        return self.table.count(_stage(stage))

    def get(self, stage: str | None = None) -> pa.Table:
        """All rows (of one stage): key, stage, reason, message, tries, at (UTC)."""
        return self.table.read(QUARANTINE.names, where=_stage(stage))


def _stage(stage: str | None) -> str | None:
    return None if stage is None else f"stage = {quoted(stage)}"


def _where(names: Sequence[tuple[str, str]]) -> str | None:
    """A filter that keeps at least the rows of `names`, and reads all when they are many."""
    keys = {key for key, _ in names}
    return f"key IN ({', '.join(map(quoted, keys))})" if len(keys) <= FEW else None
