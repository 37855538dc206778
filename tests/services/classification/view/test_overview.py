"""GET /v1/overview counts what the tables of the store hold."""

from collections import Counter

import pyarrow as pa
import pytest
from helpers.serving import served
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec
from hypothesis import given
from hypothesis import strategies as st

from services.classification import create_app
from services.classification.view.overview import tasks_of
from services.client import Client
from services.settings import Settings
from store import SPLITS, Asset, Label, Quarantined, Store, asset_id
from store.schema import LABELS


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(str(tmp_path / "db"))


def overview(store: Store, tmp_path):
    settings = Settings(store=store.uri, heads=tmp_path / "heads", jobs=tmp_path / "jobs", log_level="ERROR")
    with served(create_app(settings)) as url, Client(url) as client:
        return client.overview()


def test_all_that_is_stored_is_counted(store, tmp_path):
    assets = make_assets(20)
    sound = Asset(asset_id(b"s"), "s.wav", "audio", "audio/wav", content=b"s")
    store.assets.add([*assets, sound])
    ids = [asset.id for asset in assets]
    store.ensure_features("toy", toy_spec(), PROBE).put(ids[:12], make_vectors(12))
    store.quarantine.put([Quarantined("a.txt", "ingest", "unknown_format", "no")])
    store.labels.put("t", [Label(id_, ["hat"], "train") for id_ in ids[:3]])
    store.labels.put("t", [Label(ids[3], ["shoe"], "val"), Label(ids[4], ["hat"], "ood"), Label(ids[5], [], "test")])
    store.labels.put("several", [Label(ids[0], ["a", "b"], "test")])
    found = overview(store, tmp_path)
    assert (found.store, found.assets, found.modalities) == (True, 21, {"image": 20, "audio": 1})
    assert found.quarantined == 1
    several, single = found.tasks
    assert (single.name, single.labelled, single.many) == ("t", 6, False)
    assert (several.name, several.labelled, several.many) == ("several", 1, True)
    assert [each.model_dump() for each in single.classes] == [
        {"name": "hat", "train": 3, "val": 0, "test": 0, "ood": 1, "none": 0},
        {"name": "shoe", "train": 0, "val": 1, "test": 0, "ood": 0, "none": 0},
    ]
    [encoder] = found.encoders
    assert (encoder.name, encoder.rows, encoder.dimension, encoder.network, encoder.texts) == (
        "toy",
        12,
        8,
        True,
        False,
    )
    assert encoder.fingerprint == toy_spec().fingerprint


def test_the_version_changes_with_every_table(store, tmp_path):
    assets = make_assets(4)
    changes = [
        lambda: store.assets.add(assets),
        lambda: store.labels.put("t", [Label(assets[0].id, ["a"])]),
        lambda: store.labels.put("t", [Label(assets[0].id, ["b"])]),
        lambda: store.ensure_features("toy", toy_spec(), PROBE).put([assets[0].id], make_vectors(1)),
        lambda: store.quarantine.put([Quarantined("a.txt", "ingest", "unknown_format", "no")]),
    ]
    settings = Settings(store=store.uri, heads=tmp_path / "heads", jobs=tmp_path / "jobs", log_level="ERROR")
    with served(create_app(settings)) as url, Client(url) as client:
        versions = [client.overview().version]
        for change in changes:
            change()
            versions.append(client.overview().version)
            assert client.overview().version == versions[-1]
    assert len(set(versions)) == len(versions)


rows_of_labels = st.lists(
    st.tuples(
        st.sampled_from(["t", "u", "ä"]),
        st.lists(st.sampled_from(["a", "b", "", "ß"]), max_size=3, unique=True),
        st.sampled_from([*SPLITS, ""]),
    ),
    max_size=30,
)


@given(rows_of_labels)
def test_counts_are_those_of_a_loop(rows):
    table = pa.table(
        [
            pa.array([row[i] for row in rows], LABELS.field(name).type)
            for i, name in enumerate(("task", "labels", "split"))
        ],
        names=["task", "labels", "split"],
    )
    counts: Counter = Counter()
    for task, labels, split in rows:
        counts.update((task, label, split or "none") for label in labels)
    found = tasks_of(table)
    assert [task.name for task in found] == sorted({task for task, *_ in rows})
    for task in found:
        mine = [row for row in rows if row[0] == task.name]
        assert (task.labelled, task.many) == (len(mine), any(len(labels) > 1 for _, labels, _ in mine))
        totals = [each.count for each in task.classes]
        assert totals == sorted(totals, reverse=True)
        assert {each.name for each in task.classes} == {label for _, labels, _ in mine for label in labels}
        for each in task.classes:
            for split in (*SPLITS, "none"):
                assert getattr(each, split) == counts[task.name, each.name, split]
