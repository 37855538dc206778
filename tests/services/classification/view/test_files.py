"""POST /v1/files: files are stored with their labels, and not embedded; what cannot be read is refused alone."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from helpers.cells import CELLS, IDS, settings
from helpers.pictures import photo
from helpers.serving import served
from helpers.sounds import sound

from services.classification import create_app
from services.client import Client
from services.jobs.backfill.local import backfill
from services.web.errors import RemoteProblem
from services.web.wire import Upload
from store import Label, Store, asset_id

TEXT = b"no picture at all"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "db")


@pytest.fixture
def url(store, tmp_path) -> Iterator[str]:
    with served(create_app(settings(store, tmp_path))) as url:
        yield url


def test_files_are_stored_with_their_labels_and_a_backfill_embeds_them(url, store, lite0):
    files = [Upload("0.png", CELLS[0]), Upload("a.txt", TEXT), Upload("1.png", CELLS[1]), Upload("2.png", CELLS[0])]
    with Client(url) as client:
        found = client.store_files(files, task="t", labels=["dog", "red"], split="val")
        assert (found.new, found.known) == (2, 1)
        assert [each.status for each in found.items] == ["stored", "refused", "stored", "known"]
        assert [each.name for each in found.items] == ["0.png", "a.txt", "1.png", "2.png"]
        assert [each.id for each in found.items] == [IDS[0], asset_id(TEXT), IDS[1], IDS[0]]
        assert (found.items[1].error.code, found.items[0].error) == ("unknown_format", None)
        assert client.store_files(files[:1]).items[0].status == "known"
        assert {tuple(each.labels) for each in client.labels("t").labels} == {("dog", "red")}
        assert client.thumbnails(IDS[:1])[0].data
    assert store.encoders() == []
    assert [(each.uri, each.content) for each in store.assets.get(IDS[:2])] == [("0.png", None), ("1.png", None)]
    assert dict(store.assets.contents(IDS[:2])) == dict(zip(IDS[:2], CELLS[:2], strict=True))
    assert {row["split"] for row in store.labels.get("t").to_pylist()} == {"val"}
    backfill(store, lite0)
    assert store.features("lite0").rows == 2


def test_sounds_and_measurements_are_stored_by_their_modality(url, store, tmp_path):
    np.save(tmp_path / "depth.npy", np.ones((4, 5), np.float32))
    with Client(url) as client:
        [tone] = client.store_files([sound(1)]).items
        [unnamed] = client.store_files([tmp_path / "depth.npy"]).items
        [depth] = client.store_files([tmp_path / "depth.npy"], modality="depth").items
        assert (tone.status, unnamed.status, depth.status) == ("stored", "refused", "stored")
        assert [client.asset(each.id).modality for each in (tone, depth)] == ["audio", "depth"]
        assert client.asset(depth.id).uri == "depth.npy"


def test_one_file_may_be_the_body(url):
    answer = httpx.post(f"{url}/v1/files", params={"task": "t", "label": "x"}, content=CELLS[0], headers=PNG)
    assert answer.json()["new"] == 1


PNG = {"Content-Type": "image/png"}


def test_a_file_with_another_split_is_refused_alone_and_nothing_of_it_is_stored(url, store):
    store.labels.put("t", [Label(IDS[0], ["cat"], "test")])
    with Client(url) as client:
        found = client.store_files(CELLS[:2], task="t", labels=["dog"], split="train")
    assert [each.status for each in found.items] == ["refused", "stored"]
    assert found.items[0].error.code == "frozen_split"
    assert store.assets.exists(IDS[:2]) == {IDS[1]}


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"task": "t"}, 422, "bad_request"),
        ({"label": "x"}, 422, "bad_request"),
        ({"split": "train"}, 422, "bad_request"),
        ({"task": "t", "label": "x", "split": "dev"}, 422, "bad_split"),
        ({"task": "t", "label": ""}, 422, "bad_labels"),
        ({"tusk": "t", "label": "x"}, 422, "bad_request"),
        ({"modality": "smell"}, 422, "bad_request"),
    ],
)
def test_labels_that_no_file_may_have_are_refused_before_anything_is_stored(url, store, params, status, code):
    answer = httpx.post(f"{url}/v1/files", params=params, files=[("files", ("a.png", photo(1)))])
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert store.assets.count() == 0


def test_without_a_store_nothing_is_stored(tmp_path):
    with served(create_app(settings(Store.open(tmp_path / "x"), tmp_path).model_copy(update={"store": ""}))) as url:
        with Client(url) as client, pytest.raises(RemoteProblem) as caught:
            client.store_files([photo(1)])
        assert (caught.value.status, caught.value.code) == (503, "store_unavailable")
