"""A job reads below the folders of the settings only, however a path is written."""

import os

import pytest

from services.classification.jobs.places import allowed
from services.jobs.links import link_out
from services.web.errors import FolderNotAllowed


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "x.png").write_bytes(b"x")
    return folder


def test_a_folder_is_named_whole_or_from_the_root_on(photos):
    folders = (str(photos),)
    assert allowed(str(photos / "hat"), folders, folder=True) == photos.resolve() / "hat"
    assert allowed("hat", folders, folder=True) == photos.resolve() / "hat"
    assert allowed(".", folders, folder=True) == photos.resolve()
    assert allowed("hat/0.png", folders, folder=False) == photos.resolve() / "hat" / "0.png"


@pytest.mark.parametrize("how", ["whole", "above", "link", "prefix", "missing", "file", "null", "long", "circle"])
def test_everything_else_is_refused_in_the_same_words(photos, outside, how):
    (photos / "link").symlink_to(outside)
    (photos / "circle").symlink_to("circle")
    (photos.parent / "photos2").mkdir()
    given = {
        "whole": str(outside),
        "above": "../secret",
        "link": "link",
        "prefix": str(photos) + "2",
        "missing": "nothing",
        "file": "hat/0.png",
        "null": "hat\0",
        "long": "x" * 5000,
        "circle": "circle",
    }[how]
    with pytest.raises(FolderNotAllowed, match=r"below the folders that jobs may read.*HEADWATER_JOB_FOLDERS"):
        allowed(given, (str(photos),), folder=True)


def test_without_the_setting_nothing_may_be_read(photos):
    with pytest.raises(FolderNotAllowed, match="HEADWATER_JOB_FOLDERS"):
        allowed(str(photos), (), folder=True)


def test_a_link_out_is_found_wherever_it_is(photos, outside):
    root = photos.resolve()
    (photos / "hat" / "same.png").symlink_to(photos / "shoe" / "2.png")
    assert link_out(root, [root]) is None
    assert link_out(root / "hat", [root]) is None
    for target in (outside / "x.png", outside, "/nowhere", "../../secret/x.png"):
        link = photos / "hat" / "link.png"
        link.symlink_to(target)
        assert link_out(root, [root]) == link
        assert link_out(root, [root, outside.resolve()]) == (link if target == "/nowhere" else None)
        os.unlink(link)
