"""A watched folder: what appears is stored and embedded once, when it is complete."""

import os
from itertools import islice
from pathlib import Path

import pytest
from helpers.pictures import photo

from services.jobs.fill import Request
from services.jobs.watch import Folder, watch
from store import Label, Store, asset_id
from store.errors import BadSource


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(folder: Folder) -> list[str]:
    return [str(Path(item.uri).relative_to(folder.path)) for item in folder.complete()]


def test_a_file_is_taken_once_when_it_stays_as_it_is(tmp_path):
    folder = Folder(tmp_path / "p")
    growing = put(tmp_path / "p" / "cat" / "1.jpg", b"1")
    put(tmp_path / "p" / "2.jpg.part", b"2")
    assert names(folder) == []
    growing.write_bytes(b"12")
    assert names(folder) == []
    assert names(folder) == ["cat/1.jpg"]
    assert names(folder) == []
    (tmp_path / "p" / "2.jpg.part").rename(tmp_path / "p" / "2.jpg")
    os.utime(growing, ns=(1, 1))  # changed: it is another content
    assert names(folder) == []
    assert names(folder) == ["2.jpg", "cat/1.jpg"]
    growing.rename(tmp_path / "p" / "3.jpg")
    assert [names(folder), names(folder)] == [[], ["3.jpg"]]


def test_a_file_that_is_open_for_writing_waits_however_slow_its_writer_is(tmp_path):
    folder = Folder(tmp_path)
    with (tmp_path / "1.jpg").open("wb") as writer, (tmp_path / "1.jpg").open("rb"):
        writer.write(b"1")
        writer.flush()
        assert [names(folder) for _ in range(3)] == [[], [], []]
    with (tmp_path / "1.jpg").open("rb"):
        assert names(folder) == ["1.jpg"]


def test_rounds_store_and_embed_what_is_new_and_name_what_is_refused(tmp_path):
    store, root = Store.open(tmp_path / "db"), tmp_path / "p"
    store.labels.put("t", [Label(asset_id(photo(9)), ["cat"], "test")])
    put(root / "train" / "cat" / "0.png", photo(0))
    embedded: list[int] = []

    def embed() -> int:
        embedded.append(store.assets.count())
        return 1

    rounds = watch(store, Request([root], "t"), embed, every=0.01)
    first = next(rounds)
    assert (first.ingested.new, first.ingested.labelled, embedded) == (1, 1, [1])
    refused = put(root / "train" / "cat" / "9.png", photo(9))  # stored as a test row: it may not move to training
    put(root / "train" / "dog" / "1.png", photo(1))
    put(root / "train" / "dog" / "broken.jpg", b"\xff\xd8\xff broken")
    second = next(rounds)
    assert (second.ingested.new, second.ingested.quarantined, list(second.refused)) == (1, 1, [str(refused)])
    assert "frozen" in second.refused[str(refused)]
    assert {row["split"] for row in store.labels.get("t").to_pylist()} == {"train", "test"}
    other = next(watch(store, Request([root], "t"), embed, every=0.01))  # another process, or this one started again
    assert (other.ingested.new, other.ingested.known, other.ingested.labelled) == (0, 2, 0)


def test_a_folder_that_disappears_ends_the_watch(tmp_path):
    put(tmp_path / "p" / "cat" / "0.png", photo(0))
    rounds = watch(Store.open(tmp_path / "db"), Request([tmp_path / "p"], "t"), lambda: 0, every=0.01)
    assert len(list(islice(rounds, 1))) == 1
    (tmp_path / "p").rename(tmp_path / "q")
    with pytest.raises(BadSource, match="is not a folder"):
        next(rounds)
