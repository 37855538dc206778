import time
from datetime import timedelta

import numpy as np
import pytest
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from store import Label, Snapshot, Store
from store.errors import BadLabels, BadSplit, SnapshotGone, UnknownTask

IDS = [asset.id for asset in make_assets(60)]
SPLITS = ["train", "val", "test"]
A, B = make_vectors(60, seed=1), make_vectors(60, seed=2, dim=3)


@pytest.fixture
def filled(store: Store) -> Store:
    """60 labelled assets; vectors of `a` for all but the last 10, of `b` for all but the first 5, in other orders."""
    store.labels.put("t", [Label(id_, [f"c{i % 4}"], SPLITS[i % 3]) for i, id_ in enumerate(IDS)])
    a = store.ensure_features("a", toy_spec("a"), PROBE)
    order = np.random.default_rng(5).permutation(50)
    a.put([IDS[i] for i in order], A[order])
    b = store.ensure_features("b", toy_spec("b", dim=3), PROBE[:, :3])
    order = 5 + np.random.default_rng(6).permutation(55)
    b.put([IDS[i] for i in order], B[order])
    return store


def test_rows_are_joined_by_id(filled: Store) -> None:
    matrix = filled.matrix("t", ["a", "b"])
    assert matrix.ids == sorted(IDS[5:50])
    assert matrix.dropped == 15
    assert matrix.blocks == {"a": slice(0, 8), "b": slice(8, 11)}
    assert matrix.classes == ("c0", "c1", "c2", "c3")
    assert matrix.fingerprints == {"a": toy_spec("a").fingerprint, "b": toy_spec("b", dim=3).fingerprint}
    assert matrix.X.dtype == np.float32
    for row, id_ in enumerate(matrix.ids):
        i = IDS.index(id_)
        np.testing.assert_array_equal(matrix.X[row, matrix.blocks["a"]], A[i])
        np.testing.assert_array_equal(matrix.X[row, matrix.blocks["b"]], B[i])
        assert matrix.y[row] == [f"c{i % 4}"]
        assert matrix.codes[row] == i % 4
        assert matrix.splits[row] == SPLITS[i % 3]
    assert (matrix.indicator.argmax(axis=1) == matrix.codes).all()
    assert (matrix.indicator.sum(axis=1) == 1).all()


def test_splits_are_chosen(filled: Store) -> None:
    some = filled.matrix("t", ["a"], splits=["train", "test"])
    assert set(some.splits) == {"train", "test"}
    assert some.dropped == sum(i % 3 != 1 for i in range(50, 60))
    whole = filled.matrix("t", ["a"])
    part = whole.select("test")
    assert part.ids == filled.matrix("t", ["a"], splits=["test"]).ids
    np.testing.assert_array_equal(part.X, filled.matrix("t", ["a"], splits=["test"]).X)
    assert filled.matrix("t", ["a"], splits=[]).X.shape == (0, 8)
    with pytest.raises(BadSplit, match="no split 'dev'"):
        filled.matrix("t", ["a"], splits=["dev"])
    with pytest.raises(UnknownTask):
        filled.matrix("u", ["a"])
    with pytest.raises(ValueError, match="at least one encoder"):
        filled.matrix("t", [])


@pytest.mark.parametrize("encoders", [["a"], ["b"], ["b", "a"]])
@pytest.mark.parametrize("batch_rows", [7, 1000])
def test_batches_are_the_matrix_in_pieces(filled: Store, encoders: list[str], batch_rows: int) -> None:
    matrix = filled.matrix("t", encoders, splits=["train", "val"])
    batches = filled.batches("t", encoders, splits=["train", "val"], batch_rows=batch_rows)
    assert batches.dropped is None
    for _ in range(2):
        parts = list(batches)
        assert all(len(ids) == len(X) == len(codes) <= batch_rows for ids, X, codes in parts)
        rows = {id_: (x, c) for ids, X, codes in parts for id_, x, c in zip(ids, X, codes, strict=True)}
        assert sum(len(ids) for ids, _, _ in parts) == len(rows)
        assert sorted(rows) == matrix.ids
        np.testing.assert_array_equal(np.stack([rows[id_][0] for id_ in matrix.ids]), matrix.X)
        np.testing.assert_array_equal([rows[id_][1] for id_ in matrix.ids], matrix.codes)
        assert batches.dropped == matrix.dropped
    assert batches.blocks == matrix.blocks
    assert batches.classes == matrix.classes


@pytest.mark.parametrize("encoders", [["a"], ["b", "a"]])
def test_rows_given_are_joined_without_reading_labels(
    filled: Store, encoders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = filled.snapshot()
    some = filled.labels.get("t").slice(10, 30)
    wanted = set(some["id"].to_pylist())
    whole = filled.matrix("t", encoders)
    monkeypatch.setattr(filled.labels, "get", None)
    matrix = filled.matrix("t", encoders, rows=some, classes=whole.classes, snapshot=snapshot)
    keep = [row for row, id_ in enumerate(whole.ids) if id_ in wanted]
    assert matrix.ids == [whole.ids[row] for row in keep]
    np.testing.assert_array_equal(matrix.X, whole.X[keep])
    np.testing.assert_array_equal(matrix.codes, whole.codes[keep])
    batches = filled.batches("t", encoders, rows=some, classes=whole.classes, snapshot=snapshot)
    assert sorted(id_ for ids, _, _ in batches for id_ in ids) == matrix.ids


def test_few_labels_of_a_large_table_are_looked_up(filled: Store) -> None:
    filled.labels.put("few", [Label(IDS[3], ["x"]), Label(IDS[40], ["y"]), Label(IDS[59], ["y"])])
    matrix = filled.matrix("few", ["a"])
    assert matrix.ids == sorted([IDS[3], IDS[40]])
    assert matrix.dropped == 1
    for id_, row in zip(matrix.ids, matrix.X, strict=True):
        np.testing.assert_array_equal(row, A[IDS.index(id_)])


def test_labels_outside_the_classes(filled: Store) -> None:
    codes = np.concatenate([c for _, _, c in filled.batches("t", ["a"], classes=["c2", "c0"])])
    assert set(codes.tolist()) == {-1, 0, 1}
    matrix = filled.matrix("t", ["a"], classes=["c2", "c0"])
    expected = [{"c2": 0, "c0": 1}.get(label, -1) for (label,) in matrix.y]
    assert matrix.codes.tolist() == expected
    assert matrix.indicator.sum() == sum(code >= 0 for code in expected)


def test_several_labels_a_row(filled: Store) -> None:
    filled.labels.put("multi", [Label(IDS[0], ["x", "y"], "train"), Label(IDS[1], [], "train")])
    matrix = filled.matrix("multi", ["a"])
    by_id = dict(zip(matrix.ids, matrix.indicator.tolist(), strict=True))
    assert by_id == {IDS[0]: [True, True], IDS[1]: [False, False]}
    with pytest.raises(BadLabels, match="exactly one"):
        _ = matrix.codes
    with pytest.raises(BadLabels, match="exactly one"):
        list(filled.batches("multi", ["a"]))


def test_a_snapshot_reads_what_was(filled: Store) -> None:
    snapshot = Snapshot.from_json(filled.snapshot().to_json())
    before = filled.matrix("t", ["a", "b"], snapshot=snapshot)
    filled.features("a").put(IDS[50:], A[50:])
    filled.labels.put("t", [Label(id_, ["new"]) for id_ in IDS])
    filled.labels.put("u", [Label(id_, ["new"]) for id_ in IDS])
    filled.ensure_features("c", toy_spec("c"), PROBE).put(IDS, A)
    for _ in range(2):
        after = filled.matrix("t", ["a", "b"], snapshot=snapshot)
        assert (after.ids, after.y, after.dropped) == (before.ids, before.y, before.dropped)
        np.testing.assert_array_equal(after.X, before.X)
        assert filled.matrix("t", ["c"], snapshot=snapshot).dropped == 60
        with pytest.raises(UnknownTask):
            filled.matrix("u", ["a"], snapshot=snapshot)
        filled.optimize()
    now = filled.matrix("t", ["a", "b"])
    assert now.dropped == 5
    assert now.classes == ("new",)


def test_a_snapshot_older_than_kept_is_gone(filled: Store) -> None:
    snapshot = filled.snapshot()
    filled.features("a").put(IDS[50:], A[50:])
    time.sleep(0.01)
    filled.optimize(keep=timedelta(milliseconds=1))
    with pytest.raises(SnapshotGone, match=r"version \d+ of table .* has been removed"):
        filled.matrix("t", ["a"], snapshot=snapshot)
    assert filled.matrix("t", ["a"]).dropped == 0
