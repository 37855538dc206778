"""The journal of a run: predictions of finished parts, so that a run that was stopped goes on, and one file at the end.

Beside the file to write lies a folder ``<name>.partial``: `run.json` says which run it belongs to, and each finished
part is an Arrow file. The file itself appears whole, when the last part is done.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedder import folders
from services.jobs.errors import OutputExists
from services.jobs.out_file import require_free
from services.jobs.predict.answers import Answered
from services.jobs.predict.tables import SINKS, Sink
from store import Quarantined

RUN, LOCK = "run.json", ".lock"


class Journal:
    """Finished parts of one run. Use `open_journal`."""

    def __init__(self, out: Path, folder: Path, schema: pa.Schema, sink: Sink) -> None:
        self.out, self.folder, self.schema, self._sink = out, folder, schema, sink
        self.done = 0
        """Source rows of the finished parts, in the order of the source."""
        self.rows = 0
        """Predictions of the finished parts."""
        self.failed: list[Quarantined] = []
        """Files that an earlier start could not read or embed; filled by `replay`."""
        self._parts = 0

    def replay(self) -> Iterator[pa.RecordBatch]:
        """Write the finished parts of an earlier start into the new file, and yield them."""
        while (path := self._path(self._parts)).exists():
            with pa.ipc.open_file(str(path)) as file:
                rows = file.read_all()
                self._sink.write(rows)
                self.rows += rows.num_rows
                yield from rows.to_batches()
                self.done += int(file.schema.metadata[b"source_rows"])
                self.failed += [Quarantined(**each) for each in json.loads(file.schema.metadata.get(b"failed", b"[]"))]
            self._parts += 1

    def add(self, part: Answered) -> None:
        """Keep the predictions of the next part."""
        path = self._path(self._parts)
        fresh = path.with_suffix(".new")
        failed = json.dumps([asdict(each) for each in part.failed])
        schema = self.schema.with_metadata({"source_rows": str(part.source_rows), "failed": failed})
        with pa.OSFile(str(fresh), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch in part.batches:
                writer.write_batch(batch)
        fresh.replace(path)
        if part.batches:
            self._sink.write(pa.Table.from_batches(part.batches))
        self.done += part.source_rows
        self.rows += sum(batch.num_rows for batch in part.batches)
        self._parts += 1

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.arrow"


@contextmanager
def open_journal(out: Path, schema: pa.Schema, run: Mapping[str, Any], *, overwrite: bool) -> Iterator[Journal]:
    """Yield the journal of a run that writes `out`, which appears when the block ends. An error keeps the parts.

    Args:
        run: what identifies the run, JSON-able. Parts of another run are not continued.
        overwrite: replace an existing file, and drop the parts of another run.

    Raises OutputExists for an existing file, and for parts of another run, unless `overwrite`.
    """
    folder = out.with_name(f"{out.name}.partial")
    wanted = json.loads(json.dumps(run))
    require_free(out, overwrite=overwrite)
    with folders.lock(folder / LOCK):
        require_free(out, overwrite=overwrite)  # another run may have written it meanwhile
        folder.mkdir(exist_ok=True)  # and removed this folder
        if _read(folder / RUN) != wanted:
            if any(folder.glob("*.arrow")) and not overwrite:
                raise OutputExists(f"{folder} has the parts of another run that writes {out.name} and was stopped")
            for part in folder.glob("*.arrow"):
                part.unlink()
            (folder / RUN).write_text(json.dumps(wanted))
        fresh = folder / f"fresh{out.suffix}"
        with SINKS[out.suffix.lower()](fresh, schema) as sink:
            yield Journal(out, folder, schema, sink)
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())
        fresh.replace(out)
        shutil.rmtree(folder)


def pinned(out: Path) -> dict[str, Any]:
    """Return what identifies the run whose parts lie beside `out`; empty if there are none."""
    return _read(out.with_name(f"{out.name}.partial") / RUN)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
