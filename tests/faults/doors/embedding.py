"""Backfills: of sounds, of images with tokens, of a derived encoder from the rows of its parent, and by fragments."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from helpers.blocks import Blocks
from helpers.pictures import photo
from helpers.sounds import sound
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from embedder import registry
from embedder.derived.adapter import Adapter
from embedder.derived.encoders import DerivedEncoder
from embedder.derived.stored import StoredAdapter
from embedder.encoder import Encoder
from services.jobs.backfill import local, stages
from services.jobs.ingest import ingest
from store import Item, Quarantined, Store

from ..door import Acknowledge, Door, State
from . import seen


class Backfill(Door):
    """Sounds by `melstat`; one is cut off after its header."""

    name = "backfill"
    modules: ClassVar[tuple[str, ...]] = ("services.jobs.backfill.local", "embedder.encoders.melstat", "soundfile")
    tokens = False

    def encoder(self) -> Encoder:
        return registry.load("melstat")

    def items(self) -> list[Item]:
        good = [Item(f"{at}.wav", sound(at, seconds=0.1)) for at in range(9)]
        return [*good, Item("cut.flac", sound(9, "FLAC", seconds=0.5)[:3000])]

    def prepare(self, home: Path) -> None:
        ingest(Store.open(home / "db"), self.items())

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        stages.CHUNK_ROWS = 3
        store, encoder = Store.open(home / "db"), self.encoder()
        put = stages.settle

        def settle(store: Store, stage: str, ids: list[str], failed: list[Quarantined]) -> None:
            put(store, stage, ids, failed)
            for table in self.tables(store, encoder):
                for id_ in ids:
                    acknowledge(f"{table}/{id_}")
            for each in failed:
                acknowledge(f"quarantine/{stage}/{each.key}")

        stages.settle = settle
        local.backfill(store, encoder, batch=3, threads=2, tokens=self.tokens)

    def tables(self, store: Store, encoder: Encoder) -> list[str]:
        found = store.features(encoder.spec.fingerprint).table.name
        return [found, store.tokens(encoder.spec.fingerprint).table.name] if self.tokens else [found]

    def state(self, home: Path) -> State:
        return seen.of_store(Store.open(home / "db"))


class BackfillTokens(Backfill):
    """Images with tokens, by an encoder without a network; one image is cut off, one was in quarantine before."""

    name = "backfill-tokens"
    modules = ("services.jobs.backfill.local", "PIL.Image")
    tokens = True

    def encoder(self) -> Encoder:
        return Blocks()

    def items(self) -> list[Item]:
        good = [Item(f"{at}.png", photo(at, 16, 12)) for at in range(9)]
        return [*good, Item("cut.jpg", photo(9, 640, 480, form="JPEG")[:-2000])]


class BackfillDerived(BackfillTokens):
    """A derived encoder: rows of its parent are adapted, and the assets that the parent lacks are embedded."""

    name = "backfill-derived"
    tokens = False

    def encoder(self) -> Encoder:
        return DerivedEncoder(Blocks(), self._adapter())

    @staticmethod
    def _adapter() -> StoredAdapter:
        random = np.random.default_rng(0)
        arrays = {"mean": random.normal(size=12), "weight": random.normal(size=(6, 12))}
        return StoredAdapter(
            "blocks", Blocks.spec.fingerprint, Adapter({name: each.astype("f4") for name, each in arrays.items()})
        )

    def prepare(self, home: Path) -> None:
        store = Store.open(home / "db")
        ingest(store, self.items()[:6])
        local.backfill(store, Blocks())
        ingest(store, self.items()[6:])


class Fragments(Door):
    """Vectors that are written as fragments and then committed, as a backfill on Ray does."""

    name = "fragments"

    def prepare(self, home: Path) -> None:
        store = Store.open(home / "db")
        store.assets.add(make_assets(12))
        store.ensure_features("toy", toy_spec(), PROBE).put([a.id for a in make_assets(2)], make_vectors(12)[:2])

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        from store.lance import fragments

        store, ids, X = Store.open(home / "db"), [a.id for a in make_assets(12)], make_vectors(12)
        features = store.features("toy")
        appender = fragments.Appender(features.table, store.missing(features.fingerprint))
        for start in range(0, 12, 4):
            some = slice(start, start + 4)
            appender.append(ids[some], fragments.write(features.table, features.arrow(ids[some], X[some])))
            for id_ in ids[some]:
                acknowledge(f"{features.table.name}/{id_}")
        store.optimize()

    def state(self, home: Path) -> State:
        return seen.of_store(Store.open(home / "db"))


DOORS = (Backfill, BackfillTokens, BackfillDerived, Fragments)
