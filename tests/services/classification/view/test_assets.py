"""Stored assets over HTTP: thumbnails, sounds and details of real files, beside files that are broken or gone."""

import asyncio
import io
import json
import struct
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from helpers.cells import CELLS, IDS, KEYS, LINES, settings
from helpers.pictures import photo
from helpers.serving import served
from helpers.sounds import sound
from PIL import Image

from classifiers.published.registry import Registry
from services.classification import create_app
from services.classification.view import pictures, thumbnails
from services.cli import demo_photos
from services.client import AsyncClient, Client
from services.jobs.ingest import to_asset
from services.web.errors import RemoteProblem
from services.web.framing import framed, unframed
from store import Asset, Label, Store, asset_id

THUMBNAILS = "application/vnd.headwater.thumbnails"
TONE, BROKEN, PAGE, GONE = sound(1), photo(5)[:100], b"<script>alert(1)</script>", photo(7)


def raw(data: bytes, modality: str = "image", **more) -> Asset:
    """Return an asset as no ingest would store it: the bytes are not those of this modality."""
    return Asset(id=asset_id(data), uri="mem", modality=modality, media_type="text/html", content=data, **more)


@pytest.fixture
def store(tmp_path) -> Store:
    """Real photos, a sound, a damaged file, a page that pretends to be an image, a file that is gone, a bare vector."""
    store = Store.open(tmp_path / "db")
    store.assets.add(to_asset(data, f"/srv/photos/{i}.png") for i, data in enumerate(CELLS))
    store.assets.add([to_asset(TONE, "tone.wav"), raw(BROKEN), raw(PAGE), raw(b"vector", "vector")])
    gone = tmp_path / "gone.png"
    gone.write_bytes(GONE)
    store.assets.add([to_asset(GONE, str(gone), inline=False)])
    return store


@pytest.fixture
def url(store, tmp_path) -> Iterator[str]:
    with served(create_app(settings(store, tmp_path))) as url:
        yield url


def size_of(data: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(data)).size


def test_many_thumbnails_are_one_answer_in_the_order_of_the_request(url):
    with Client(url) as client:
        wanted = [IDS[3], asset_id(TONE), IDS[1], IDS[3]]
        found = client.thumbnails(wanted, size=128)
    assert [each.id for each in found] == wanted
    assert [each.media_type for each in found] == ["image/jpeg", "image/png", "image/jpeg", "image/jpeg"]
    assert [size_of(each.data) for each in found] == [(each.width, each.height) for each in found]
    assert max(found[0].width, found[0].height) == 128
    assert found[0] == found[3]
    shades = [np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((128, 128))) for data in CELLS[:4]]
    drawn = np.asarray(Image.open(io.BytesIO(found[2].data)).convert("L"), int)
    assert np.argmin([np.abs(drawn - each).mean() for each in shades]) == 1


def test_a_body_begins_with_its_header_and_is_even(url):
    """What JavaScript relies on, read here without the code of this project."""
    body = httpx.post(f"{url}/v1/thumbnails", json={"ids": [*IDS[:3], "none"]})
    assert (body.headers["content-type"], body.headers["x-content-type-options"]) == (THUMBNAILS, "nosniff")
    [length] = struct.unpack("<I", body.content[:4])
    assert (4 + length) % 8 == 0
    items = json.loads(body.content[4 : 4 + length])["items"]
    assert [each["id"] for each in items] == [*IDS[:3], "none"]
    assert (items[3]["error"]["code"], set(items[3])) == ("unknown_id", {"id", "error"})
    at = 4 + length
    for item in items[:3]:
        assert size_of(body.content[at : at + item["bytes"]]) == (item["width"], item["height"])
        at += item["bytes"]
    assert at == len(body.content)


@pytest.mark.parametrize("size", range(20))
def test_a_frame_is_read_as_it_was_written(size):
    header = {"a": "é" * size}
    body = framed(header, [b"ab", b"", b"c"])
    found, contents = unframed(body)
    assert (found, bytes(contents), (len(body) - 3) % 8) == (header, b"abc", 0)
    for part in (body[:3], body[:6]):
        with pytest.raises(ValueError, match="header"):
            unframed(part)


def test_a_broken_file_fails_alone(url, tmp_path):
    (tmp_path / "gone.png").unlink()
    wanted = [asset_id(each) for each in (BROKEN, PAGE, GONE, b"vector")]
    with Client(url) as client:
        found = client.thumbnails([*IDS[:20], *wanted, "' OR 1=1", *IDS[20:]])
        assert [each.error for each in found if each.error is None] == [None] * len(IDS)
        codes = {each.id: each.error.code for each in found if each.error}
        assert codes == dict(zip([*wanted, "' OR 1=1"], [*CODES, "unknown_id"], strict=True))
        assert str(tmp_path) not in str([each.error for each in found])
    for id_ in wanted:
        answer = httpx.get(f"{url}/v1/assets/{id_}/thumbnail")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_shown")
        assert str(tmp_path) not in answer.text
    for path in (f"{'0' * 64}/thumbnail", "none/thumbnail", "none/sound", "none"):
        answer = httpx.get(f"{url}/v1/assets/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_id")


CODES = ["truncated", "not_an_image", "not_shown", "not_shown"]


def test_a_picture_is_kept_by_browsers_and_never_taken_for_a_page(url):
    address = f"{url}/v1/assets/{IDS[0]}/thumbnail"
    answer = httpx.get(address, params={"size": 128})
    assert (answer.headers["content-type"], max(size_of(answer.content))) == ("image/jpeg", 128)
    kept = {"cache-control": "private, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
    etag = answer.headers["etag"]
    assert kept.items() <= dict(answer.headers).items()
    for given in (etag, f'"other", W/{etag}'):
        again = httpx.get(address, params={"size": 128}, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert kept.items() <= dict(again.headers).items()
    assert httpx.get(address, params={"size": 256}, headers={"If-None-Match": etag}).status_code == 200
    assert httpx.head(address).headers["content-type"] == "image/jpeg"
    large = httpx.get(address, params={"size": 1600})
    assert size_of(large.content) == size_of(CELLS[0])  # not enlarged
    for size in ("100", "-128", "1e9", "x"):
        assert httpx.get(address, params={"size": size}).status_code == 422


def test_a_sound_can_be_heard_and_nothing_else(url):
    answer = httpx.get(f"{url}/v1/assets/{asset_id(TONE)}/sound")
    assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == ("audio/wav", "nosniff")
    assert answer.content[:4] == b"RIFF"
    assert 0.9 < len(answer.content) / len(TONE) < 1.1
    given = {"If-None-Match": answer.headers["etag"]}
    assert httpx.get(str(answer.url), headers=given).status_code == 304
    other = httpx.get(f"{url}/v1/assets/{IDS[0]}/sound")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "not_shown")


def test_an_asset_has_its_labels_of_every_task_and_the_heads_that_it_taught(home):
    store, registry = home.store, Registry(home.settings.heads)
    rows = store.labels.get(demo_photos.TASK).to_pylist()
    taught, other = (next(row for row in rows if row["split"] == split) for split in ("train", "test"))
    with served(create_app(home.settings)) as url, Client(url) as client:
        found, unseen = client.asset(taught["id"]), client.asset(other["id"])
    [cell] = [each for each in home.cells if asset_id(each.path.read_bytes()) == taught["id"]]
    [asset] = store.assets.get([found.id])
    assert (found.modality, found.bytes, found.uri) == ("image", cell.path.stat().st_size, asset.uri)
    assert (found.width, found.height) == size_of(cell.path.read_bytes())
    labels = {each.task: (each.labels, each.split) for each in found.labels}
    assert labels[demo_photos.TASK] == (taught["labels"], "train")
    assert set(labels) == set(store.labels.tasks())
    assert set(found.heads) == {f"{name}@{registry.versions(name)[-1]}" for name in registry.names()}
    assert unseen.heads == []


def test_an_asset_whose_file_is_gone_still_has_its_details(url, store, tmp_path):
    (tmp_path / "gone.png").unlink()
    store.labels.put("t", [Label(asset_id(GONE), ["old"])])
    store.labels.put("t", [Label(asset_id(GONE), ["new"])])
    with Client(url) as client:
        found = client.asset(asset_id(GONE))
    assert (found.bytes, [each.labels for each in found.labels]) == (None, [["new"]])


def test_kept_pictures_need_no_file_and_do_not_outlive_their_asset(store, tmp_path):
    with served(create_app(settings(store, tmp_path))) as url, Client(url) as client:
        [first] = client.thumbnails([asset_id(GONE)])
        (tmp_path / "gone.png").unlink()
        assert client.thumbnails([asset_id(GONE)]) == [first]
        store.assets.table.delete(f"id = '{asset_id(GONE)}'")
        [removed] = client.thumbnails([asset_id(GONE)])
        assert removed.error.code == "unknown_id"
    with served(create_app(settings(store, tmp_path, max_thumbnail_bytes=0))) as url, Client(url) as client:
        assert client.thumbnails(IDS[:2]) == client.thumbnails(IDS[:2])


def test_many_at_once_get_what_one_alone_gets(url):
    with Client(url) as client:
        alone = {id_: client.thumbnails([id_])[0] for id_ in IDS}

    async def together() -> list:
        async with AsyncClient(url) as client:
            return await asyncio.gather(*(client.thumbnails(IDS[i:] + IDS[:i]) for i in range(20)))

    for i, found in enumerate(asyncio.run(together())):
        assert found == [alone[id_] for id_ in IDS[i:] + IDS[:i]]


def test_what_a_client_no_longer_waits_for_is_not_drawn(store, tmp_path, monkeypatch):
    begun, go_on = [], threading.Event()

    def slow(*given):
        begun.append(given)
        go_on.wait(10)
        return pictures.draw(*given)

    monkeypatch.setattr(thumbnails, "draw", slow)

    async def leave() -> None:
        drawing = thumbnails.Thumbnails(lambda: store, settings(store, tmp_path))
        request = asyncio.create_task(drawing.of(IDS, 128))
        while not begun:
            await asyncio.sleep(0.01)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        go_on.set()
        await asyncio.to_thread(drawing.stop)

    asyncio.run(leave())
    assert len(begun) <= len(IDS) / thumbnails.AT_ONCE + 1  # at most the first file of each part


@pytest.mark.parametrize(
    "body",
    [
        {"ids": []},
        {"ids": IDS[:1] * 257},
        {"ids": IDS[:1], "size": 1600},
        {"ids": IDS[:1], "size": "256"},
        {"ids": ["x" * 301]},
        {"ids": [1]},
        {"ids": IDS[:1], "sizes": 128},
        {},
    ],
)
def test_a_request_that_is_none_is_refused(url, body):
    answer = httpx.post(f"{url}/v1/thumbnails", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_request")


def test_what_does_not_fit_the_memory_is_refused_before_it_is_drawn(store, tmp_path):
    tight = settings(store, tmp_path, max_body_bytes=2**17, max_bytes_under_way=2**20)
    with served(create_app(tight)) as url, Client(url) as client:
        assert len(client.thumbnails(IDS[:4], size=128)) == 4
        with pytest.raises(RemoteProblem) as caught:
            client.thumbnails(IDS * 6, size=512)
        assert (caught.value.status, caught.value.code) == (503, "too_busy")
        assert len(client.thumbnails(IDS[:4], size=128)) == 4


def test_readers_see_pictures_and_no_path(store, tmp_path):
    keyed = settings(store, tmp_path, keys=LINES)
    with served(create_app(keyed)) as url:
        assert httpx.post(f"{url}/v1/thumbnails", json={"ids": IDS[:1]}).status_code == 401
        uris = {}
        for role, (secret, _) in KEYS.items():
            with Client(url, key=secret) as client:
                assert client.thumbnails(IDS[:1])[0].data
                uris[role.name] = client.asset(IDS[0]).uri
    assert uris == {"read": "…/0.png", "write": "…/0.png", "admin": "/srv/photos/0.png"}
