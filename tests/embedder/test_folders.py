"""Folders appear whole or not at all, also if several processes write and if a writer is killed."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from embedder import folders


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_its_files_and_nothing_lies_beside_it(tmp_path):
    target = tmp_path / "deep" / "target"
    folders.write_whole(target, {"a": b"1", "b.json": b"{}"})
    assert content(target) == {"a": b"1", "b.json": b"{}"}
    assert list(target.parent.iterdir()) == [target]


def test_an_existing_folder_stays_unless_it_is_replaced(tmp_path):
    target = tmp_path / "target"
    folders.write_whole(target, {"old": b"1"})
    with pytest.raises(FileExistsError):
        folders.write_whole(target, {"new": b"2"})
    assert content(target) == {"old": b"1"}
    folders.write_whole(target, {"new": b"2"}, replace=True)
    assert content(target) == {"new": b"2"}
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_appears_before_the_block_ends(tmp_path):
    target = tmp_path / "target"
    with folders.writing(target) as fresh:
        (fresh / "inner").mkdir()
        (fresh / "inner" / "a").write_text("1")
        assert not target.exists()
    assert (target / "inner" / "a").read_text() == "1"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux exchanges two folders in one step")
def test_a_folder_is_there_at_any_time_while_it_is_replaced(tmp_path):
    target = tmp_path / "target"
    folders.write_whole(target, {"a": b"0"})
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(
            lambda: [folders.write_whole(target, {"a": str(i).encode()}, replace=True) for i in range(300)]
        )
        while not work.done():
            assert target.exists()
    assert work.exception() is None
    assert content(target) == {"a": b"299"}
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "target"
    folders.write_whole(target, {"old": b"1"})

    def fail():
        with folders.writing(target, replace=True) as fresh:
            (fresh / "new").write_text("2")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert content(target) == {"old": b"1"}
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_replaced_whole_and_readable_like_any_other(tmp_path):
    path, plain = tmp_path / "file", tmp_path / "plain"
    plain.write_bytes(b"")
    folders.write_file(path, b"1")
    folders.write_file(path, b"22")
    assert path.read_bytes() == b"22"
    assert path.stat().st_mode == plain.stat().st_mode
    assert sorted(tmp_path.iterdir()) == [path, plain]


def test_the_digest_is_that_of_the_shell(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert folders.digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_threads_take_turns(tmp_path):
    inside, most = [0], [0]

    def work(_):
        with folders.lock(tmp_path / "new" / "lock"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert most == [1]


HOLDER = """
import sys, time
from pathlib import Path
from embedder import folders

root = Path(sys.argv[1])
with folders.lock(root / "lock"), folders.writing(root / "target") as fresh:
    (fresh / "half").write_text("")
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that is in the middle of writing a folder."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in\n"
        yield process
        process.kill()


def test_a_killed_writer_leaves_no_folder_and_no_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not (tmp_path / "target").exists()
    with folders.lock(tmp_path / "lock"):  # would wait for ever if the dead process still held it
        folders.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_the_next_writer_removes_the_leftovers_of_the_killed_and_of_no_one_else(tmp_path, holder):
    """Also a folder whose owner was killed before it made the lock file, and single files."""
    [live] = tmp_path.glob(".new-*")
    (tmp_path / ".new-empty").mkdir()
    (tmp_path / ".new-file").write_text("half")
    folders.write_whole(tmp_path / "other", {"a": b"1"})
    assert sorted(tmp_path.iterdir()) == sorted([live, tmp_path / "lock", tmp_path / "other"])
    assert (live / "fresh" / "half").exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    folders.write_file(tmp_path / "file", b"1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "lock", "other"]


@pytest.mark.parametrize("_", range(5))  # one round alone can miss a race
def test_writers_at_once_never_take_each_others_folders_for_leftovers(tmp_path, _):
    def work(number):
        folders.write_whole(tmp_path / str(number), {"a": str(number).encode()})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(200)))
    assert {path.name: content(path) for path in tmp_path.iterdir()} == {
        str(number): {"a": str(number).encode()} for number in range(200)
    }


def test_a_discarded_folder_is_gone_and_its_leftovers_are_removed_by_the_next_writer(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name / "inside").mkdir(parents=True)
        (tmp_path / name / "inside" / "file").touch()
        with folders.try_lock(tmp_path / name / folders.IN_USE), monkeypatch.context() as patch:
            if name == "b":  # as if the process were killed after the first step
                patch.setattr(folders, "_remove", lambda _: None)
            folders.discard(tmp_path / name)
        assert not (tmp_path / name).exists()
    assert [path.name for path in tmp_path.iterdir()] == [".new-b"]
    folders.write_whole(tmp_path / "c", {"file": b""})
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
