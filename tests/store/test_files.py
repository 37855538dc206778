"""Files that strangers may have named: regular files only, up to a size, and not outside of the root."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import Asset, Store, asset_id, files, references
from store.errors import BadFile, BadSource, ContentChanged

SECRET = b"secret"


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_RDONLY)  # a socket's path may have about 100 characters
        made.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


OTHERS: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "socket": _socket,
    "device": _device,
    "folder": lambda path: path.mkdir(),
}
"""Makers of what is no regular file, by a word of the message."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder beside which a secret file lies."""
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "root" / "in" / "a").write_bytes(b"a")
    return tmp_path / "root"


def beneath(root: Path, relative: str) -> bytes:
    with files.open_beneath(root, relative) as file:
        return files.read(file, relative)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_regular_file_is_refused_at_once(root: Path, kind: str) -> None:
    path = root / "other"
    OTHERS[kind](path)
    with pytest.raises(BadFile, match=f"is not a regular file but a {kind}") as caught:
        files.open_regular(path)
    assert caught.value.reason == "not_a_file"
    with pytest.raises(BadFile, match=f"a {kind}|passes the link"):
        beneath(root, "other")


def test_a_link_is_followed_where_the_user_chose_the_path_and_nowhere_else(root: Path) -> None:
    (root / "link").symlink_to(root / "in" / "a")
    (root / "folder").symlink_to(root / "in")
    (root / "out").symlink_to(root.parent)
    with files.open_regular(root / "link") as file:
        assert files.read(file, "link") == b"a"
    assert beneath(root, "in/a") == b"a"
    for path in ("link", "folder/a", "out/secret", "../secret", "in/../../secret", "/etc/hostname", "", "."):
        with pytest.raises(BadFile) as caught:
            beneath(root, path)
        assert caught.value.reason == "outside_root"


def test_a_file_is_read_up_to_the_limit_also_if_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    with files.open_regular(path) as file:
        assert len(files.read(file, "file", 100)) == 100
    with files.open_regular(path) as file, pytest.raises(BadFile, match="has 100 bytes, more than the limit of 99"):
        files.read(file, "file", 99)
    with path.open("wb") as sparse:
        sparse.truncate(1 << 40)  # a terabyte that takes no room
    with files.open_regular(path) as file, pytest.raises(BadFile, match="more than the limit"):
        files.read(file, "file")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_file_that_has_more_bytes_than_its_size_says_ends_at_the_limit() -> None:
    """As a file does that grows while it is read."""
    for path, most in (("/proc/self/maps", 100), ("/proc/self/maps", 1 << 30)):
        with files.open_regular(path) as file, contextlib.nullcontext() if most > 100 else pytest.raises(BadFile):
            assert len(files.read(file, path, most)) > 100


SWAP = """
import os, sys
root, what = sys.argv[1:]
os.chdir(root)
print(flush=True)
while True:
    if what == "file":  # a file, a link to the secret, and a FIFO in turn
        with open("spare", "wb") as file:
            file.write(b"a")
        os.replace("spare", "in/a")
        os.symlink("../../outside/a", "spare")
        os.replace("spare", "in/a")
        os.mkfifo("spare")
        os.replace("spare", "in/a")
    else:  # the folder, and a link to another one
        os.rename("in", "spare")
        os.symlink("../outside", "in")
        os.unlink("in")
        os.rename("spare", "in")
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_path_that_is_swapped_while_it_is_opened_never_leads_out(root: Path, what: str) -> None:
    """Another process exchanges a part of the path all the time. Plain opening is led astray, as a control shows."""
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "a").write_bytes(SECRET)
    plain, found = set(), set()
    with subprocess.Popen([sys.executable, "-c", SWAP, root, what], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        end = time.monotonic() + 20
        while not (SECRET in plain and b"a" in found and len(found) + len(plain) >= 3) and time.monotonic() < end:
            for _ in range(2000):
                with contextlib.suppress(OSError):
                    found.add(beneath(root, "in/a"))
                with contextlib.suppress(OSError), files.open_regular(root / "in" / "a") as file:
                    plain.add(files.read(file, "a"))
        other.kill()
    assert SECRET in plain
    assert found == {b"a"}


PARTS = st.sampled_from(["..", ".", "", "in", "a", "link", "out", "root", "secret", "spare", "\u0131"])


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=6), st.sampled_from(["", "/", "file://", "file:///"]), st.booleans())
def test_no_path_of_an_import_leads_out_of_the_root(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], prefix: str, below: bool
) -> None:
    """Whatever the uri: it is refused, or what is read at it lies below the root."""
    folder = tmp_path_factory.getbasetemp() / "tree"
    root = folder / "root"
    if not folder.exists():
        (root / "in").mkdir(parents=True)
        (folder / "secret").write_bytes(SECRET)
        (root / "in" / "a").write_bytes(b"a")
        (root / "link").symlink_to("in/a")
        (root / "out").symlink_to("..")
        (root / "spare").symlink_to(folder / "secret")
    uri = prefix + "/".join([*(root.parts[1:] if below else ()), *parts])
    try:
        stored = references.rooted(uri, [root])
    except BadSource:
        return
    assert stored.startswith(f"{os.path.realpath(root)}/./")
    data = references.read(asset_id(b"a"), stored)
    assert data == b"a" or isinstance(data, ContentChanged)
    assert not isinstance(references.read(asset_id(SECRET), stored), bytes)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/a.jpg?endpoint_override=http://127.0.0.1:1",
        "https://example.org/a.jpg",
        "file://otherhost/etc/hostname",
        "FILE://otherhost/etc/hostname",
        "memory://a",
        "file://[/etc/hostname",
        "a\0b",
        "a" * 5000,
    ],
)
def test_no_uri_of_an_import_names_another_machine(root: Path, uri: str) -> None:
    with pytest.raises(BadSource):
        references.rooted(uri, [root])


def test_several_roots(root: Path) -> None:
    other = root.parent / "other"
    other.mkdir()
    (other / "b").write_bytes(b"b")
    assert references.rooted(str(other / "b"), [root, other]) == f"{other}/./b"
    assert references.rooted("in/a", [root, other]) == f"{root}/./in/a"
    assert references.rooted((other / "b").as_uri(), [root, other]) == f"{other}/./b"
    assert references.rooted(f"{other}/./b", [other]) == f"{other}/./b"  # as an earlier import stored it
    with pytest.raises(BadSource, match="leads out of"):
        references.rooted(str(other / "b"), [root])


def test_the_rules_hold_whenever_a_reference_is_read(store: Store, root: Path) -> None:
    """The file was right when it was imported; then it was exchanged."""
    path, ids = root / "in" / "a", [asset_id(b"a")]
    uri = references.rooted("in/a", [root])
    store.assets.add([Asset(ids[0], uri, "image", "image/png")])
    assert list(store.assets.contents(ids)) == [(ids[0], b"a")]
    (root.parent / "copy").write_bytes(b"a")
    for make, reason in (
        (lambda: path.write_bytes(b"other"), "has changed"),
        (lambda: path.symlink_to(root.parent / "copy"), "passes the link 'a'"),
        (lambda: os.mkfifo(path), "not a regular file but a FIFO"),
        (lambda: None, "No such file"),
    ):
        path.unlink()
        make()
        [(_, found)] = store.assets.contents(ids)
        assert isinstance(found, ContentChanged)
        assert reason in str(found)


@pytest.mark.parametrize("uri", ["a\0b", "file://host/a", "/dev/zero", "nosuch://x", "s3:/x", "~nosuchuser/x"])
def test_a_reference_that_cannot_be_read_is_an_error_of_that_asset(store: Store, uri: str) -> None:
    id_ = "e" * 64
    store.assets.add([Asset(id_, uri, "image", "image/png")])
    [(_, found)] = store.assets.contents([id_])
    assert isinstance(found, ContentChanged)


def test_the_limit_of_the_store_holds_for_references(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "db", max_file_bytes=10)
    for size in (10, 11):
        (tmp_path / str(size)).write_bytes(bytes(size))
    ids = [asset_id(bytes(size)) for size in (10, 11)]
    store.assets.add([Asset(id_, str(tmp_path / s), "image", "x/y") for id_, s in zip(ids, ("10", "11"), strict=True)])
    good, large = (data for _, data in store.assets.contents(ids))
    assert good == bytes(10)
    assert "more than the limit of 10" in str(large)


def test_bytes_that_the_disk_has_changed_are_named(store: Store) -> None:
    asset = Asset(asset_id(b"right"), "a", "image", "image/png", content=b"wrong")
    store.assets.add([asset])
    [(_, found)] = store.assets.contents([asset.id])
    assert isinstance(found, ContentChanged)
