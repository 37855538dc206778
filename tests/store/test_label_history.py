"""Changes of labels, the history that they leave, and undo, checked against a model that copies the whole store."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from helpers.toystore import make_assets, toy_spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import Label, Store, asset_id
from store.errors import NothingToUndo, TaskExists, UnknownTask
from store.interchange import export_parquet, import_parquet
from store.schema import now
from store.tables.undo import undo

FIXTURE = Path(__file__).parent / "fixtures" / "before_label_history.zip"
"""A store that was written before there was a history: 6 assets, tasks `animals` and `scene`, vectors, quarantine."""

Rows = dict[tuple[str, str], tuple[list[str], str, str]]


def current(store: Store) -> Rows:
    rows = store.labels.table.read(["id", "task", "labels", "split", "source"]).to_pylist()
    return {(row["id"], row["task"]): (row["labels"], row["split"], row["source"]) for row in rows}


Change = tuple[str, str, list[str], str]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "undo", "drop"]),
        st.sampled_from(["t", "u"]),
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True),
        st.sampled_from(["cat", "dog", "eel"]),
    ),
    max_size=12,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_undo_steps_back_through_the_states_of_a_model(tmp_path: Path, changes: list[Change]) -> None:
    """The model keeps a copy of all rows before each change that changed something; undo returns the last copy."""
    shutil.rmtree(tmp_path / "db", ignore_errors=True)
    store, before = Store.open(tmp_path / "db"), list[Rows]()
    for what, task, ids, label in changes:
        old = current(store)
        if what == "put":
            store.labels.put(task, [Label(id_, [label], source="hand") for id_ in ids])
        elif what == "remove":
            store.labels.remove(task, ids, source="hand")
        elif what == "drop" and task in store.labels.tasks():
            store.labels.remove_task(task)
        elif what == "undo" and before:
            undo(store.labels)
            assert current(store) == before.pop()
            continue
        if current(store) != old:
            before.append(old)
    while before:
        undo(store.labels)
        assert current(store) == before.pop()
    with pytest.raises(NothingToUndo):
        undo(store.labels)


def test_the_history_of_an_asset_has_every_change_with_time_and_source(store: Store) -> None:
    store.labels.put("t", [Label("a", ["cat"], "test", "folder")])
    store.labels.put("t", [Label("a", ["dog"], source="hand")])
    store.labels.remove("t", ["a"], source="clean-up")
    undo(store.labels)
    undo(store.labels)
    found = store.labels.of("a", "t")
    assert [(each.labels, each.source, each.by, each.undone) for each in found] == [
        (["cat"], "folder", "hand", False),
        (["dog"], "hand", "clean-up", False),
        (["dog"], "hand", "undo", True),
        (["cat"], "folder", "", False),
    ]
    first, second, third, last = found
    assert first.until == second.at
    assert second.until is not None
    assert third.until is not None
    assert second.until < third.until
    assert last.until is None
    assert last.at == first.at
    assert {each.split for each in found} == {"test"}


def test_a_split_outlives_the_removal_of_labels(store: Store) -> None:
    store.labels.put("t", [Label(id_, ["x"], "val") for id_ in "ab"])
    store.labels.remove("t", ["a"])
    store.labels.remove_task("t")
    store.labels.put("t", [Label("a", ["y"]), Label("b", ["y"])])
    assert {row[1] for row in current(store).values()} == {"val"}


def test_undo_of_one_task_leaves_later_changes_of_others(store: Store) -> None:
    store.labels.put("t", [Label("a", ["x"])])
    store.labels.put("u", [Label("a", ["y"])])
    done = undo(store.labels, "t")
    assert (done.tasks, done.restored, done.removed) == (("t",), 0, 1)
    assert set(current(store)) == {("a", "u")}
    with pytest.raises(NothingToUndo, match="task 't'"):
        undo(store.labels, "t")


def test_calls_of_one_time_are_one_change(store: Store) -> None:
    store.labels.put("t", [Label("a", ["x"]), Label("b", ["x"])])
    before, at = current(store), now()
    store.labels.put("t", [Label("a", ["y"])], at=at)
    store.labels.put("t", [Label("a", ["z"]), Label("c", ["z"])], at=at)
    undo(store.labels)
    assert current(store) == before


def test_a_renamed_task_keeps_its_rows_and_its_history(store: Store) -> None:
    store.labels.put("t", [Label("a", ["x"], "test")])
    before = current(store)[("a", "t")]
    store.labels.put("t", [Label("a", ["y"])])
    store.labels.put("taken", [Label("a", ["x"])])
    with pytest.raises(TaskExists, match="'taken'"):
        store.labels.rename_task("t", "taken")
    with pytest.raises(UnknownTask, match="'none'"):
        store.labels.rename_task("none", "new")
    assert store.labels.rename_task("t", "it's new") == 1
    assert store.labels.tasks() == {"it's new": 1, "taken": 1}
    undo(store.labels, "it's new")
    assert current(store)[("a", "it's new")] == before


def test_a_store_of_before_the_history_opens_and_keeps_what_it_had(tmp_path: Path) -> None:
    """Opening writes nothing. The first change keeps the row that the older version wrote, and undo brings it back."""
    shutil.unpack_archive(FIXTURE, tmp_path)
    store, ids = Store.open(tmp_path / "store", must_exist=True), [each.id for each in make_assets(6)]
    versions, before = store.snapshot().versions, current(store)
    assert store.labels.tasks() == {"animals": 6, "scene": 3}
    assert before[(ids[0], "animals")] == (["dog"], "train", "hand")
    assert [each.until for each in store.labels.of(ids[0], "animals")] == [None]
    assert store.snapshot().versions == versions
    store.labels.put("animals", [Label(ids[0], ["cat"], source="me")])
    assert [(each.labels, each.by) for each in store.labels.of(ids[0], "animals")] == [(["dog"], "me"), (["cat"], "")]
    undo(store.labels)
    assert current(store) == before
    store.labels.put("animals", [Label(ids[0], ["cat"], group="ann")])
    assert {each.group for each in store.labels.of(ids[0], "animals")} == {None, "ann"}
    undo(store.labels)
    assert current(store) == before
    assert undo(store.labels).tasks == ("scene",)  # changes of the older version can be taken back, newest first
    assert "scene" not in store.labels.tasks()
    assert store.matrix("animals", ["toy"]).X.shape == (6, toy_spec().dim)


def test_an_export_carries_the_history(store: Store, tmp_path: Path) -> None:
    store.labels.put("t", [Label("a", ["x"])])
    before = current(store)
    store.labels.put("t", [Label("a", ["y"])])
    export_parquet(store, tmp_path / "out")
    copy = Store.open(tmp_path / "copy")
    import_parquet(copy, tmp_path / "out")
    assert copy.labels.of("a") == store.labels.of("a")
    undo(copy.labels)
    assert current(copy) == before


def test_an_import_of_newer_labels_can_be_undone(store: Store, tmp_path: Path) -> None:
    store.labels.put("t", [Label("a", ["old"], "test")])
    before = current(store)
    other = Store.open(tmp_path / "other")
    other.labels.put("t", [Label("a", ["new"], "test", "other")])
    export_parquet(other, tmp_path / "out")
    import_parquet(store, tmp_path / "out")
    assert [(each.labels, each.by) for each in store.labels.of("a")] == [(["old"], "other"), (["new"], "")]
    undo(store.labels)
    assert current(store) == before


WRITER = """
import sys
from store import Label, Store
store = Store.open(sys.argv[1])
for round in range(8):
    store.labels.put("t", [Label(id_, [f"{sys.argv[2]}.{round}"]) for id_ in "abcdef"])
"""


def test_two_writers_at_once_leave_one_unbroken_history(
    start_python: Callable[..., "Popen[str]"], store: Store
) -> None:
    """Each row ends when the next one begins: no change of the other process is missing or doubled."""
    writers = [start_python(WRITER, store.uri, name) for name in "xy"]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    for id_ in "abcdef":
        rows = sorted(store.labels.of(id_, "t"), key=lambda row: row.at)
        assert len(rows) == 16
        assert all(row.until for row in rows[:-1])
        assert len({row.until for row in rows}) == 16
        assert sorted(row.at for row in rows[1:]) == sorted(row.until for row in rows if row.until)


def test_a_change_that_was_killed_before_its_labels_is_no_change(store: Store) -> None:
    """The history is written first; the next change and its undo are those of the labels that are there."""
    store.labels.put("t", [Label("a", ["x"], "test")])
    before, rows = current(store), store.labels.table.read(["id", "task", "labels", "split", "source", "at"])
    store.labels.history.keep(rows, until=now(), by="killed")
    time.sleep(0.001)
    store.labels.put("t", [Label("a", ["y"])])
    undo(store.labels)
    assert current(store) == before
    undo(store.labels)
    assert current(store) == {}


def test_ids_of_the_fixture_are_those_of_the_toy_assets() -> None:
    assert make_assets(1)[0].id == asset_id(b"image 0")


KILLED = """
import os, signal, sys
from store import Label, Store
from store.lance.table import Table
from store.tables.undo import undo
left = int(sys.argv[2])
def killing(whole):
    def write(self, *arguments, **options):
        global left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return whole(self, *arguments, **options)
    return write
for name in ("upsert", "delete", "update"):
    setattr(Table, name, killing(getattr(Table, name)))
labels = Store.open(sys.argv[1]).labels
if sys.argv[3] == "put":
    labels.put("t", [Label(id_, ["new"]) for id_ in "abcx"])
elif sys.argv[3] == "remove":
    labels.remove("t", "abc", source="hand")
elif sys.argv[3] == "rename":
    labels.rename_task("t", "new")
else:
    undo(labels)
"""


@pytest.mark.parametrize(("what", "writes"), [("put", 1), ("remove", 1), ("undo", 1), ("undo", 2), ("rename", 1)])
def test_a_change_that_was_killed_is_finished_by_the_next(
    start_python: Callable[..., "Popen[str]"], store: Store, what: str, writes: int
) -> None:
    """Killed before its first write, and between any two: repeated, it gives what a whole one gives."""
    store.labels.put("t", [Label(id_, ["old"], "test") for id_ in "abcd"])
    first = current(store)
    store.labels.put("t", [Label(id_, ["wrong"], "test") for id_ in "abe"])
    before = current(store)
    for allowed in range(writes + 1):
        process = start_python(KILLED, store.uri, allowed, what)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    if what == "put":
        assert current(store) == before
        store.labels.put("t", [Label(id_, ["new"]) for id_ in "abcx"])
    elif what == "remove":
        store.labels.remove("t", "abc")
        assert {key[0] for key in current(store)} == {"d", "e"}
    elif what == "rename":
        assert store.labels.rename_task("t", "new") == 5
        assert set(store.labels.tasks()) == {"new"}
        undo(store.labels)
        assert {row[0][0] for row in current(store).values()} == {"old"}
        return
    while current(store) != before and what != "undo":
        undo(store.labels)
    undo(store.labels)
    assert current(store) == first
