"""The plan of a backfill: which rows come from the parent, how many there are, and whether the disk has room."""

import shutil

import numpy as np
import pytest
from helpers.blocks import Blocks
from helpers.commands import runner
from helpers.pictures import photo

from embedder import probe, registry
from embedder.derived.condenser import Condenser
from embedder.derived.encoders import DerivedEncoder
from embedder.derived.stored import StoredAdapter
from services.jobs.backfill.local import backfill
from services.jobs.backfill.plan import Progress
from services.jobs.ingest import ingest
from store import Item, Store, asset_id
from store.errors import NoRoom

COUNT = 5


@pytest.fixture
def parent() -> Blocks:
    return Blocks()


@pytest.fixture
def condensed(parent: Blocks) -> DerivedEncoder:
    """The encoder with one token per image in place of four."""
    pool = Condenser({"pool": np.array([2], np.float32)})
    return DerivedEncoder(parent, StoredAdapter(parent.name, parent.spec.fingerprint, pool))


@pytest.fixture
def store(tmp_path) -> Store:
    opened = Store.open(tmp_path / "db")
    ingest(opened, [Item(f"{seed}.png", photo(seed)) for seed in range(COUNT)])
    return opened


def rows(store: Store, encoder: DerivedEncoder) -> tuple[int, int]:
    """Return the numbers of stored vectors and stored tokens."""
    return store.features(encoder.spec.fingerprint).rows, store.tokens(encoder.spec.fingerprint).rows


def test_rows_of_the_parent_count_where_only_tokens_are_missing(store, parent, condensed):
    backfill(store, parent)
    assert backfill(store, condensed).done == COUNT
    backfill(store, parent, tokens=True)
    done = backfill(store, condensed, tokens=True)
    assert (done.total, done.done) == (COUNT, COUNT)
    assert rows(store, condensed) == (COUNT, COUNT)
    assert backfill(store, condensed, tokens=True).total == 0


def test_an_asset_whose_parent_has_its_tokens_alone_counts_once(store, parent, condensed):
    """A parent's backfill that is killed between two commits leaves tokens without vectors."""
    whole = parent.embed(np.stack([parent.prepare(image) for image in probe.images()[:1]]), tokens=True)
    store.ensure_features(parent.name, parent.spec, parent.reference_probe())
    store.ensure_tokens(parent.name, parent.spec).put([asset_id(photo(0))], whole.tokens)
    done = backfill(store, condensed, tokens=True)
    assert (done.total, done.done) == (COUNT, COUNT)
    assert rows(store, condensed) == (COUNT, COUNT)


def test_without_room_no_row_is_written_not_even_of_the_parent(store, parent, condensed, monkeypatch):
    """A condensed vector has 48 bytes, its token 6. Compaction needs them twice."""
    backfill(store, parent, tokens=True)
    usage, need = shutil.disk_usage(store.uri), 2 * COUNT * (48 + 6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=need - 1))
    with pytest.raises(NoRoom, match=r"5 × 48 bytes = 240 bytes and 5 × 6 bytes = 30 bytes need 540 bytes"):
        backfill(store, condensed, tokens=True)
    assert rows(store, condensed) == (0, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=need))
    assert backfill(store, condensed, tokens=True).done == COUNT


def test_only_missing_rows_need_room(store, parent, monkeypatch):
    """The vectors are stored, so only tokens of 24 bytes are written."""
    backfill(store, parent)
    usage = shutil.disk_usage(store.uri)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * COUNT * 24))
    assert backfill(store, parent, tokens=True).done == COUNT


def test_the_size_of_tokens_includes_those_of_the_parent_and_is_reported_before_any_row(store, parent, condensed):
    backfill(store, parent, tokens=True)
    ingest(store, [Item("new.png", photo(COUNT))])
    reports: list[tuple[int, str, int]] = []

    def note(now: Progress) -> None:
        reports.append((now.done, str(now.tokens), rows(store, condensed)[1]))

    done = backfill(store, condensed, tokens=True, on_progress=note)
    assert reports[0] == (0, "6 × 6 bytes = 36 bytes", 0)
    assert reports[-1] == (COUNT + 1, "6 × 6 bytes = 36 bytes", COUNT + 1)
    assert (done.total, done.done) == (COUNT + 1, COUNT + 1)


def test_the_command_prints_the_size_once(store, parent, condensed, monkeypatch):
    """First all rows come from the parent; then the only asset is broken, so that no row is ever written."""
    run = runner({"HEADWATER_STORE": store.uri})
    backfill(store, parent, tokens=True)
    monkeypatch.setattr(registry, "load", lambda *_, **__: condensed)
    _, err = run("backfill", "--tokens", "--json")
    assert err.count("The tokens will take 5 × 6 bytes = 30 bytes") == err.count("will take") == 1
    ingest(store, [Item("cut.jpg", photo(1, 640, 480, form="JPEG")[:-2000])])
    _, err = run("backfill", "--tokens", "--json", code=3)
    assert err.count("The tokens will take 1 × 6 bytes = 6 bytes") == err.count("will take") == 1
    _, err = run("backfill", "--tokens", "--json")
    assert "will take" not in err
