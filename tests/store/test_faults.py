"""Faults of the disk, all of them real: each is named, and when it has ended, the same store works again."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import disks
from helpers.paths import ROOT
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from store import Label, Quarantined, Store
from store.errors import DiskFull, StoreError, Unavailable
from store.lance import fragments
from store.lance.faults import named

IDS = [asset.id for asset in make_assets(30)]
X = make_vectors(30)


def make(folder: Path) -> Store:
    store = Store.open(folder)
    store.assets.add(make_assets(10))
    store.labels.put("t", [Label(id_, ["x"]) for id_ in IDS[:10]])
    store.ensure_features("toy", toy_spec(), PROBE).put(IDS[:10], X[:10])
    return store


READS: dict[str, Callable[[Store], object]] = {
    "count": lambda store: store.assets.count(),
    "ids": lambda store: store.assets.ids(),
    "contents": lambda store: list(store.assets.contents(IDS[:2])),
    "exists": lambda store: store.assets.exists(IDS[:2]),
    "labels": lambda store: store.labels.get("t"),
    "features": lambda store: store.features("toy").get(IDS[:2]),
    "search": lambda store: store.features("toy").search(X[0]),
    "matrix": lambda store: store.matrix("t", ["toy"]),
    "snapshot": lambda store: store.snapshot(),
}
WRITES: dict[str, Callable[[Store], object]] = {
    "assets": lambda store: store.assets.add(make_assets(20, start=10)),
    "delete": lambda store: store.labels.table.delete(f"id = '{IDS[0]}'"),
    "labels": lambda store: store.labels.put("t", [Label(id_, ["y"]) for id_ in IDS]),
    "quarantine": lambda store: store.quarantine.put([Quarantined("a", "ingest", "r")]),  # makes a table
    "vectors": lambda store: store.features("toy").put(IDS[10:], X[10:]),
    "table": lambda store: store.ensure_tokens("toy", toy_spec(), PROBE),
    "fragments": lambda store: fragments.write(store.features("toy").table, store.features("toy").arrow(IDS, X)),
}


def failing(calls: dict[str, Callable[[Store], object]], store: Store) -> dict[str, StoreError]:
    """Return the fault of each call. Every call has to fail with one line."""
    found = {}
    for name, call in calls.items():
        with pytest.raises(StoreError) as caught:
            call(store)
        found[name] = caught.value
        assert "\n" not in str(caught.value), name
    return found


def check_whole(store: Store) -> None:
    """Check that every row that was acknowledged is there once, and that everything can be written."""
    assert sorted(store.assets.ids().to_pylist()) == sorted(IDS[:10])
    np.testing.assert_array_equal(store.features("toy").get(IDS[:10])[1], X[:10])
    for call in (*READS.values(), *WRITES.values()):
        call(store)
    assert store.assets.count() == store.features("toy").rows == len(store.labels.get("t")) == 30


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with disks.small_disk(tmp_path / "disk") as folder:
        yield folder


def test_a_full_disk(disk: Path) -> None:
    store = make(disk / "db")
    with disks.full(disk):
        faults = failing(WRITES, store)
        assert {type(fault) for fault in faults.values()} == {DiskFull}
        assert "is full (No space left on device); make room" in str(faults["assets"])
        for read in READS.values():
            read(store)
    check_whole(store)


def test_a_read_only_disk(tmp_path: Path) -> None:
    store = make(tmp_path / "db")
    with disks.read_only(tmp_path / "db"):
        faults = failing(WRITES, store)
        assert {type(fault) for fault in faults.values()} == {Unavailable}
        assert str(faults["assets"]).endswith("cannot be used (Read-only file system); mount the disk writable")
        for read in READS.values():
            read(store)
    check_whole(store)


def test_a_store_that_is_removed_under_a_process_and_comes_back(tmp_path: Path) -> None:
    folder, backup = tmp_path / "db", tmp_path / "backup"
    store = make(folder)
    shutil.copytree(folder, backup)
    shutil.rmtree(folder)
    for calls in (READS, WRITES):
        faults = failing(calls, store)
        assert all(f"the store {folder} is gone: its folder was removed" in str(fault) for fault in faults.values())
    assert not folder.exists()  # a write must not begin another store where the disk is not mounted
    folder.mkdir()
    failing(READS | WRITES, store)
    folder.rmdir()
    shutil.copytree(backup, folder)
    check_whole(store)


@pytest.mark.parametrize("versions", [1, 2, 5])
def test_a_store_that_another_process_makes_anew(tmp_path: Path, versions: int) -> None:
    """Whatever the number of versions: nothing that was remembered of the old tables is taken for the new ones."""
    store, vectors = make(tmp_path / "db"), make(tmp_path / "db").features("toy")
    vectors.get(IDS[:3])
    shutil.rmtree(tmp_path / "db")
    other = Store.open(tmp_path / "db")
    for start in range(20, 20 + versions):
        other.assets.add(make_assets(1, start=start))
        other.ensure_features("toy", toy_spec(), PROBE).put(IDS[start : start + 1], X[start : start + 1])
    there = IDS[20 : 20 + versions]
    assert store.assets.ids().to_pylist() == there
    assert [data for _, data in store.assets.contents(there)] == [a.content for a in make_assets(versions, start=20)]
    np.testing.assert_array_equal(vectors.get(there)[1], X[20 : 20 + versions])
    assert vectors.get(IDS[:3])[0] == []
    assert store.assets.add(make_assets(30)).new == 30 - versions
    assert sorted(Store.open(tmp_path / "db").assets.ids().to_pylist()) == sorted(IDS)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": _truncate,
    "removed": Path.unlink,
    "overwritten": lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["data", "_versions"])
@pytest.mark.parametrize("again", [False, True])
def test_a_damaged_table(tmp_path: Path, damage: str, part: str, again: bool) -> None:
    """A file of the table is damaged. Never is a table begun anew over the rows of another."""
    store = make(tmp_path / "db")
    for path in sorted((tmp_path / "db" / "assets.lance" / part).iterdir()):
        DAMAGES[damage](path)
    used = Store.open(tmp_path / "db") if again else store
    calls = {name: READS[name] for name in ("ids", "contents")} | {"assets": WRITES["assets"]}
    faults = failing(calls, used)
    assert {type(fault) for fault in faults.values()} == {Unavailable}
    assert all("restore a backup" in str(fault) for fault in faults.values())
    assert all(".rs:" not in str(fault) for fault in faults.values())


CHILD = """
import os, resource, sys
from pathlib import Path
sys.path.insert(0, "tests")
sys.path.insert(0, "tests/store")
import test_faults as t

store = t.make(Path(sys.argv[1]))
for call in t.READS.values():
    call(store)
t.{fault}(store)
"""


def child(fault: Callable[[Store], None], folder: Path) -> None:
    """Run `fault` with a store in `folder` in another process, because it cannot be undone in this one."""
    code = CHILD.format(fault=fault.__name__)
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def too_large(store: Store) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    faults = failing(WRITES, store)
    assert {type(fault) for fault in faults.values()} == {DiskFull}
    for read in READS.values():
        read(store)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    check_whole(store)


def too_many_files(store: Store) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
    faults = failing({name: WRITES[name] for name in ("quarantine", "table")}, store)
    assert all("raise the limit on open files" in str(fault) for fault in faults.values())
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    check_whole(store)


def not_permitted(store: Store) -> None:
    if os.getuid() == 0:
        os.chmod(store.uri, 0o700)
        os.setuid(65534)
    else:
        os.chmod(store.uri, 0)
    calls = {"read": READS["contents"], "write": WRITES["assets"], "open": lambda store: Store.open(store.uri)}
    faults = failing(calls, store)
    assert {type(fault) for fault in faults.values()} == {Unavailable}
    assert all("Permission denied" in str(fault) for fault in faults.values())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("fault", [too_large, too_many_files, not_permitted])
def test_faults_of_a_whole_process(tmp_path: Path, fault: Callable[[Store], None]) -> None:
    child(fault, tmp_path / "db")


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("SQL: no column x"), KeyboardInterrupt(), StoreError("y")])
def test_no_other_error_is_taken_for_a_fault(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, named("here"):
        raise error
    assert caught.value is error


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file; a store is a folder"):
        Store.open(tmp_path / "file")
    with pytest.raises(Unavailable, match="Not a directory"):
        Store.open(tmp_path / "file" / "db").assets.add(make_assets(1))
