"""Export and import."""

import hashlib
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from store import Label, Quarantined, Store, interchange
from store.errors import NoExport

from ..door import Acknowledge, Door, State, Violation
from . import seen


def fill(store: Store, label: str, rows: int = 10) -> Store:
    ids = [asset.id for asset in make_assets(rows)]
    store.assets.add(make_assets(rows))
    store.labels.put("t", [Label(id_, [label], "train") for id_ in ids])
    store.quarantine.put([Quarantined("bad.jpg", "ingest", "truncated", label)])
    store.ensure_features("toy", toy_spec(), PROBE).put(ids, make_vectors(rows))
    store.ensure_tokens("toy", toy_spec()).put(ids[:4], np.random.default_rng(0).standard_normal((4, 3, 4)))
    return store


class Export(Door):
    """A store is exported over an older export of another one.

    A kill between two files leaves files of both exports. No import may take them.
    """

    name = "export"
    modules = ("store.interchange",)
    passing: ClassVar[State] = {"export": "interrupted"}

    def prepare(self, home: Path) -> None:
        interchange.export_parquet(fill(Store.open(home / "older"), "older", 6), home / "out")
        (home / "out" / "assets.partial").write_text("left by an older version")
        fill(Store.open(home / "db"), "newer")

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        interchange.export_parquet(Store.open(home / "db"), home / "out")
        acknowledge("export")

    def state(self, home: Path) -> State:
        """Return the digest of all files together. Each is whole: all of its rows can be read."""
        try:
            interchange.import_parquet(Store.open(home / "none"), home / "out")
        except NoExport:
            return {"export": "interrupted"}
        finally:
            shutil.rmtree(home / "none", ignore_errors=True)
        found = {}
        for path in (home / "out").glob("*.parquet"):
            try:
                rows = pq.read_table(path)
            except Exception as error:
                raise Violation(f"{path.name} is not whole: {error}") from error
            shown = rows.drop_columns([name for name in ("at", "added_at") if name in rows.column_names])
            found[path.name] = hashlib.sha256(repr(sorted(map(repr, shown.to_pylist()))).encode()).hexdigest()
        return {"export": hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()}


class Import(Door):
    """An export is imported into a store that has older labels."""

    name = "import"
    modules = ("store.interchange",)

    def prepare(self, home: Path) -> None:
        older = Store.open(home / "db")
        older.assets.add(make_assets(3))
        older.labels.put("t", [Label(asset.id, ["older"], "train") for asset in make_assets(3)])
        interchange.export_parquet(fill(Store.open(home / "other"), "newer"), home / "out")

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        interchange.import_parquet(Store.open(home / "db"), home / "out")
        for key in seen.of_store(Store.open(home / "other")):
            acknowledge(key)

    def state(self, home: Path) -> State:
        return seen.of_store(Store.open(home / "db"))


DOORS = (Export, Import)
