"""The tables of a store: labels, quarantine, and compaction."""

from datetime import timedelta
from pathlib import Path

from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from store import Label, Quarantined, Store

from ..door import Acknowledge, Door, State
from . import seen

IDS = [asset.id for asset in make_assets(12)]


class Labels(Door):
    """Labels are put, changed, moved to another split, and pruned."""

    name = "labels"

    def prepare(self, home: Path) -> None:
        store = Store.open(home / "db")
        store.assets.add(make_assets(12))
        store.labels.put("t", [Label(id_, ["old"], "train", "program") for id_ in IDS[:6]])

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        store = Store.open(home / "db")
        for start in range(0, 12, 4):
            some = IDS[start : start + 4]
            store.labels.put("t", [Label(id_, ["new"], "test", "person") for id_ in some], move_splits=True)
            for id_ in some:
                acknowledge(f"labels/t/{id_}")
        store.labels.prune("t", "person")

    def state(self, home: Path) -> State:
        return seen.of_store(Store.open(home / "db"))


class QuarantineDoor(Labels):
    """Failures are recorded and cleared again."""

    name = "quarantine"

    def prepare(self, home: Path) -> None:
        Store.open(home / "db").quarantine.put([Quarantined("cleared", "ingest", "empty", "m")])

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        store = Store.open(home / "db")
        for at in range(3):
            store.quarantine.put([Quarantined(f"{at}-{i}", "ingest", "empty", "m") for i in range(3)])
            for i in range(3):
                acknowledge(f"quarantine/ingest/{at}-{i}")
        store.quarantine.clear(["cleared"], "ingest")


class Compaction(Labels):
    """A table of many fragments is compacted, and its old versions removed; then one row more is put."""

    name = "compaction"

    def prepare(self, home: Path) -> None:
        store, X = Store.open(home / "db"), make_vectors(12)
        store.assets.add(make_assets(12))
        features = store.ensure_features("toy", toy_spec(), PROBE)
        for at in range(11):
            features.put([IDS[at]], X[at : at + 1])

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        store = Store.open(home / "db")
        store.optimize(keep=timedelta(milliseconds=1))
        features = store.features("toy")
        features.put(IDS[11:], make_vectors(12)[11:])
        acknowledge(f"{features.table.name}/{IDS[11]}")


DOORS = (Labels, QuarantineDoor, Compaction)
