"""The file that a table of a review is written to: Parquet, CSV or JSON lines."""

from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from services.jobs.out_file import require_free
from services.jobs.predict.tables import SINKS, without_folders


def names_only(table: pa.Table) -> pa.Table:
    """Return a table whose columns of paths have the names of files on this machine, without their folders."""
    for number, name in enumerate(table.column_names):
        if name.partition("_")[0] == "path":
            table = table.set_column(number, name, without_folders(table[name]))
    return table


def save(table: pa.Table, path: Path, *, overwrite: bool = False) -> None:
    """Write a table; the ending of the name says how (see `SINKS`). The file appears whole. Raises OutputExists."""
    require_free(path, overwrite=overwrite)
    fresh = path.with_name(f".{uuid4().hex}-{path.name}")
    try:
        with SINKS[path.suffix.lower()](fresh, table.schema) as sink:
            sink.write(table)
        require_free(path, overwrite=overwrite)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
