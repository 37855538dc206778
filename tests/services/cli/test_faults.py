"""Faults of the disk, and imports that are not trusted, as the command line reports them: one line and a hint."""

import os
import shutil

import pytest
from helpers import disks
from helpers.pictures import photo
from helpers.sounds import sound

from store import Asset, Store, asset_id


def make_photos(folder, seeds):
    for seed in seeds:
        (folder / "cat").mkdir(parents=True, exist_ok=True)
        (folder / "cat" / f"{seed}.png").write_bytes(photo(seed))


@pytest.fixture
def ingested(headwater, tmp_path):
    """A store of two photos, and a folder with two more."""
    make_photos(tmp_path / "photos", range(2))
    assert headwater("ingest", "photos", "--task", "t", "--store", "db")[0] == 0
    make_photos(tmp_path / "photos", range(4))


COMMANDS = (["ingest", "photos", "--task", "t"], ["backfill", "--encoder", "melstat"])


def one_line(headwater, command, reason, hint=""):
    code, _, err = headwater(*command)
    lines = [line for line in err.splitlines() if not line.startswith(("ingest ", "backfill "))]  # the progress bar
    assert code == 1
    assert lines[0].startswith("error: ")
    assert reason in lines[0]
    assert lines[1:] == ([f"hint: {hint}"] if hint else [])


@pytest.mark.usefixtures("ingested")
def test_a_read_only_store(headwater, tmp_path):
    with disks.read_only(tmp_path / "db"):
        for command in COMMANDS:
            one_line(headwater, [*command, "--store", "db"], "cannot be used (Read-only file system); mount the disk")
    assert headwater("ingest", "photos", "--store", "db")[0] == 0


@pytest.mark.usefixtures("ingested")
def test_a_full_disk(headwater, tmp_path):
    with disks.small_disk(tmp_path / "disk", "5m") as disk:
        shutil.copytree(tmp_path / "db", disk / "db")
        with disks.full(disk):
            for command in COMMANDS:
                reason = "is full (No space left on device); make room"
                one_line(headwater, [*command, "--store", disk / "db"], reason, "--store puts the store elsewhere")
            one_line(
                headwater,
                ["export", disk / "out", "--store", "db"],
                "is full (No space left on device); make room",
                "--store puts the store elsewhere",
            )
        assert headwater("export", disk / "out", "--store", "db")[0] == 0


def test_an_import_with_references(headwater, tmp_path):
    photos = tmp_path / "photos"
    make_photos(photos, range(2))
    assert headwater("ingest", "photos", "--reference", "--task", "t", "--store", "theirs")[0] == 0
    assert headwater("export", "out", "--store", "theirs")[0] == 0
    hint = "--trust-references takes them, from files below FOLDER or --root"
    one_line(headwater, ["import", "out", "--store", "ours"], "has assets by reference", hint)
    trusted = ["import", "out", "--store", "ours", "--trust-references"]
    one_line(headwater, trusted, "leads out of")
    assert not (tmp_path / "ours").exists()
    assert headwater("import", "out", "--store", "ours", "--root", photos)[0] == 2
    assert headwater(*trusted, "--root", tmp_path / "nosuch", "--root", photos)[0] == 0
    ids = [asset_id(photo(seed)) for seed in range(2)]
    assert [data for _, data in Store.open(tmp_path / "ours").assets.contents(ids)] == [photo(0), photo(1)]


def test_a_backfill_reports_references_that_are_no_files_any_more(headwater, tmp_path):
    """Neither a FIFO nor a device in the place of a file stops a backfill."""
    store, paths = Store.open(tmp_path / "db"), [tmp_path / f"{seed}.wav" for seed in range(4)]
    store.assets.add(Asset(asset_id(sound(seed)), str(path), "audio", "audio/wav") for seed, path in enumerate(paths))
    paths[0].write_bytes(sound(0))
    paths[1].write_bytes(sound(9))
    os.mkfifo(paths[2])
    paths[3].symlink_to("/dev/zero")
    code, out, _ = headwater("backfill", "--encoder", "melstat", "--store", "db")
    assert code == 3
    assert "3 unreadable" in out
    assert Store.open(tmp_path / "db").features("melstat").ids().to_pylist() == [asset_id(sound(0))]
