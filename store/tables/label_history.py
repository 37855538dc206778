"""The history of labels: the rows of the table `labels` that were replaced or removed, with the change that did it.

The table `labels` has only the current row of each (id, task), so that reading a task stays one scan. A change writes
the rows that it replaces here first, and then the new rows there. A process that is killed in between leaves rows here
whose change never happened: their labels are still the current ones, and the next change of them writes its own row.

All rows of one change have one time: `at` of the rows that it set is `until` of the rows that it ended.
"""

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from store.lance.database import Database
from store.lance.table import FEW, Table
from store.rows import among, instant, quoted, strings, with_columns
from store.schema import LABEL_HISTORY, LATER, LabelRow


class LabelHistory:
    """The table `label_history`, with one row for each (id, task) and change that ended its labels.

    A store without it is one whose labels were never changed, or were changed by an older version.
    """

    def __init__(self, database: Database) -> None:
        self.table = Table(database, "label_history", LABEL_HISTORY, LATER)

    def keep(self, rows: pa.Table, *, until: datetime, by: str, undone: bool = False) -> None:
        """Store rows (columns of LABELS) that a change is about to replace or remove.

        Args:
            until: time of that change.
            by: its source.
            undone: True if that change takes an earlier one back.
        """
        for name, value in {"until": until, "by": by, "undone": undone}.items():
            field = LABEL_HISTORY.field(name)
            rows = rows.append_column(field, pa.repeat(pa.scalar(value, field.type), rows.num_rows))
        self.table.upsert(with_columns(rows, LABEL_HISTORY, LABEL_HISTORY.names).cast(LABEL_HISTORY))

    def last(self, task: str, ids: Sequence[str]) -> dict[str, dict[str, str | None]]:
        """Return the last {"split", "group"} of those of `ids` that had labels of the task."""
        if not ids or not self.table.count():
            return {}
        where = f"task = {quoted(task)}" + (f" AND {among('id', ids)}" if len(ids) <= FEW else "")
        rows = self.table.read(["id", "split", "group", "until"], where=where)
        rows = rows.filter(pc.is_in(rows["id"], value_set=pa.array(ids, pa.string()))).sort_by("until")
        return dict(zip(strings(rows["id"]), rows.select(["split", "group"]).to_pylist(), strict=True))

    def of(self, id_: str, task: str | None = None) -> list[LabelRow]:
        """Return the former labels of an asset, of one task or of all, the oldest change first."""
        where = f"id = {quoted(id_)}" + ("" if task is None else f" AND task = {quoted(task)}")
        rows = self.table.read(LABEL_HISTORY.names, where=where).sort_by("until").to_pylist()
        return [LabelRow(**row) for row in rows]

    def ended_at(self, time: datetime, task: str | None = None) -> pa.Table:
        """Return the rows that the change of this time ended."""
        where = f"until = {instant(time)} AND NOT undone" + ("" if task is None else f" AND task = {quoted(task)}")
        return self.table.read(LABEL_HISTORY.names, where=where)
