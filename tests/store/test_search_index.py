"""The vector index: made by `optimize`, exact about newer and removed rows, safe beside writers, readers and kills."""

import re
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.toystore import PROBE, toy_spec

from store import Label, Store, asset_id
from store.lance import nearest

ROWS, DIM = 6000, 8


def ids_of(n: int, start: int = 0) -> list[str]:
    return [asset_id(str(i).encode()) for i in range(start, start + n)]


def vectors(n: int, seed: int = 0) -> np.ndarray:
    """Return rows around 40 centres, so that partitions mean something."""
    rng = np.random.default_rng(seed)
    centres = 3 * np.random.default_rng(99).standard_normal((40, DIM))
    return (centres[rng.integers(0, 40, n)] + rng.standard_normal((n, DIM))).astype(np.float32)


def exact(X: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    """Return the rows with the largest cosines, computed here."""
    cosines = X @ query / np.linalg.norm(X, axis=1)
    return np.argsort(-cosines, kind="stable")[:k].tolist()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make the index for small tables, with small partitions of which a search reads few."""
    for name, value in {
        "INDEX_FROM": 2000,
        "PARTITION_ROWS": 100,
        "NEWER_ROWS": 1500,
        "PROBES": 20,
        "FEW_IDS": 50,
        "MOST_FETCHED": 2000,
    }.items():
        monkeypatch.setattr(nearest, name, value)


@pytest.fixture
def features(store: Store):
    made = store.ensure_features("toy", toy_spec(dim=DIM), PROBE)
    made.put(ids_of(ROWS), vectors(ROWS))
    store.optimize()
    return made


def indices(features):
    return nearest.vector_indices(features.table._handle(), "vector")


def recall(features, X, queries, k=10, **options) -> float:
    ids = ids_of(len(X))
    found = [{id_ for id_, _ in features.search(q, k, **options)} for q in queries]
    wanted = [{ids[i] for i in exact(X, q, k)} for q in queries]
    return float(np.mean([len(f & w) / k for f, w in zip(found, wanted, strict=True)]))


def test_a_large_table_is_indexed_and_searched_by_the_index(features):
    assert list(indices(features)) == [ROWS // 100]
    X, queries = vectors(ROWS), vectors(40, seed=1)
    assert 0.9 < recall(features, X, queries) <= 1
    nearest.PROBES = 1  # the fixture restores it: the index is used, so fewer partitions find less
    assert recall(features, X, queries) < 1
    assert recall(features, X, queries[:5], metric="dot", k=1) >= 0  # other metrics look at every row
    ids, query = ids_of(ROWS), queries[0]
    assert [id_ for id_, _ in features.search(query, 10, "dot")] == [ids[i] for i in np.argsort(-(X @ query))[:10]]
    found = features.search(X[17], 1)
    assert found[0][0] == ids[17]
    assert found[0][1] == pytest.approx(1, abs=1e-5)


def test_a_small_table_has_no_index_and_is_exact(store):
    features = store.ensure_features("toy", toy_spec(dim=DIM), PROBE)
    features.put(ids_of(1000), vectors(1000))
    store.optimize()
    assert not indices(features)
    assert recall(features, vectors(1000), vectors(20, seed=1)) == 1


def test_rows_newer_than_the_index_are_found_and_join_it_later(store, features):
    new = ids_of(1000, start=ROWS)
    X = vectors(1000, seed=5)
    features.put(new, X)
    store.optimize()
    [index] = indices(features).values()
    assert index.num_unindexed_rows == 1000  # too few to write the index anew
    nearest.PROBES = 1
    assert all(features.search(X[i], 1)[0][0] == new[i] for i in range(0, 1000, 20))
    features.put(ids_of(600, start=ROWS + 1000), vectors(600, seed=6))
    store.optimize()
    [index] = indices(features).values()
    assert index.num_unindexed_rows == 0
    assert all(features.search(X[i], 1)[0][0] == new[i] for i in range(0, 1000, 20))


def test_removed_rows_are_never_found_and_do_not_take_a_place(store, features):
    X, ids = vectors(ROWS), ids_of(ROWS)
    near = exact(X, X[0], 30)
    for i in near[:20]:
        features.table.delete(f"id = '{ids[i]}'")
    left = [ids[i] for i in near[20:30]]
    assert len(set(left) & {id_ for id_, _ in features.search(X[0], 10)}) >= 9
    store.optimize()
    assert not {ids[i] for i in near[:20]} & {id_ for id_, _ in features.search(X[0], 100)}
    # The same id again, elsewhere: the old place is forgotten.
    features.put([ids[near[0]]], -X[:1])
    assert features.search(-X[0], 1)[0][0] == ids[near[0]]
    assert ids[near[0]] not in {id_ for id_, _ in features.search(X[0], 100)}


def test_a_table_that_has_grown_gets_a_new_index_in_the_place_of_the_old_one(store, features):
    features.put(ids_of(4 * ROWS, start=ROWS), vectors(4 * ROWS, seed=7))
    store.optimize()
    assert list(indices(features)) == [5 * ROWS // 100]


def test_ids_and_vectors_are_indexed_apart(features, monkeypatch):
    """A vector index is no index of ids: looking ids up must not rely on it."""
    monkeypatch.setattr("store.lance.table.INDEX_FROM", 2000)
    features.optimize()
    columns = sorted(index.columns[0] for index in features.table._handle().list_indices())
    assert columns == ["id", "vector"]
    ids = ids_of(ROWS)
    assert features.get(ids[::7])[0] == ids[::7]


@pytest.mark.parametrize("share", [0.005, 0.05, 0.5])
def test_a_search_among_some_ids_is_exact_whatever_their_share(features, share):
    X, ids = vectors(ROWS), ids_of(ROWS)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        some = np.sort(rng.choice(ROWS, int(share * ROWS), replace=False))
        query = vectors(1, seed=seed + 50)[0]
        nearest.PROBES = 60  # all partitions: what is left is the choice among the ids
        found = features.search(query, 10, ids=pa.chunked_array([[ids[i] for i in some]]))
        assert [id_ for id_, _ in found] == [ids[some[i]] for i in exact(X[some], query, 10)]


def test_ids_far_from_the_query_are_found_by_looking_at_every_row(features):
    X, ids = vectors(ROWS), ids_of(ROWS)
    query = X[0]
    far = np.array(exact(X, -query, 300))
    found = features.search(query, 10, ids=pa.chunked_array([[ids[i] for i in far]]))
    assert [id_ for id_, _ in found] == [ids[far[i]] for i in exact(X[far], query, 10)]
    assert features.search(query, 10, ids=pa.chunked_array([[]], pa.string())) == []
    assert features.search(query, 10, ids=pa.chunked_array([["0" * 64]])) == []


def test_labels_choose_the_ids(store, features):
    ids = ids_of(6)
    store.labels.put("t", [Label(id_, ["cat", "dog"][: 1 + i % 2], "train") for i, id_ in enumerate(ids[:4])])
    store.labels.put("t", [Label(ids[4], ["cat"], "test")])
    assert set(store.labels.ids("t").to_pylist()) == set(ids[:5])
    assert set(store.labels.ids("t", label="dog").to_pylist()) == {ids[1], ids[3]}
    assert set(store.labels.ids("t", label="cat", split="test").to_pylist()) == {ids[4]}
    assert len(store.labels.ids("t", label="o'clock")) == 0


def test_an_old_version_is_read_as_it_was(store, features):
    store.labels.put("t", [Label(id_, ["x"]) for id_ in ids_of(100)])
    snapshot = store.snapshot()
    features.put(ids_of(5 * ROWS, start=ROWS), vectors(5 * ROWS, seed=8))
    store.optimize()
    matrix = store.matrix("t", ["toy"], snapshot=snapshot)
    np.testing.assert_array_equal(np.sort(matrix.X, axis=0), np.sort(vectors(ROWS)[:100], axis=0))
    assert len(features.ids(version=snapshot.versions[features.table.name])) == ROWS


BUILD = """
import sys
from store import Store
from store.lance import nearest
nearest.INDEX_FROM, nearest.PARTITION_ROWS, nearest.NEWER_ROWS = 2000, 100, 1
store = Store.open(sys.argv[1])
features = store.features("toy")
features.rows
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    for index in nearest.vector_indices(features.table._handle(), "vector").values():
        features.table._handle().drop_index(index.name)
    features.optimize()
print("done")
"""


def test_index_building_beside_a_writer_and_a_reader(store: Store, features, start_python) -> None:
    worker = start_python(BUILD, store.uri, 3)
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()
    start = ROWS
    while worker.poll() is None and start < ROWS + 400:
        X = vectors(4, seed=start)
        features.put(ids_of(4, start=start), X)
        assert features.search(X[2], 1)[0][0] == ids_of(1, start=start + 2)[0]
        start += 4
    out, _ = worker.communicate(timeout=60)
    assert re.search("done", out)
    assert features.rows == start
    assert len(set(features.ids().to_pylist())) == start
    store.optimize()
    assert len(indices(features)) == 1


@pytest.mark.parametrize(
    "delay", [0.1, pytest.param(0.02, marks=pytest.mark.slow), pytest.param(0.25, marks=pytest.mark.slow)]
)
def test_a_killed_build_leaves_the_table_whole(tmp_path: Path, start_python, delay: float) -> None:
    store = Store.open(tmp_path / "killed")
    features = store.ensure_features("toy", toy_spec(dim=DIM), PROBE)
    features.put(ids_of(ROWS), vectors(ROWS))
    worker = start_python(BUILD, store.uri, 50)
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("go\n")
    worker.stdin.flush()
    time.sleep(delay)
    worker.kill()
    worker.communicate(timeout=60)
    fresh = Store.open(store.uri).features("toy")
    assert fresh.rows == ROWS
    assert recall(fresh, vectors(ROWS), vectors(10, seed=1)) > 0.8
    fresh.optimize()
    assert list(indices(fresh)) == [ROWS // 100]
    assert recall(fresh, vectors(ROWS), vectors(10, seed=1)) > 0.8
