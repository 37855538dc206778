"""Labels over HTTP, of both services, by the Python client and by requests that go wrong."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from helpers.serving import served
from helpers.toystore import make_assets

from services import classification, embedding
from services.client import AsyncClient, Client
from services.settings import Settings
from services.web import labels
from services.web.access.keys import Role, make
from services.web.errors import RemoteProblem
from store import Label, Store
from store.errors import Unavailable

IDS = [asset.id for asset in make_assets(5)]
KEYS = {role: make(role.name, role) for role in (Role.read, Role.write)}


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store.open(tmp_path / "db")
    store.assets.add(make_assets(5))
    store.labels.put("t", [Label(id_, ["cat"], "train", "/data/photos/cat/1.png") for id_ in IDS])
    return store


@pytest.fixture(params=[embedding, classification], ids=lambda each: each.__name__.rpartition(".")[2])
def service(request):
    return request.param


@pytest.fixture
def url(service, store, tmp_path) -> Iterator[str]:
    with served(service.create_app(settings(store, tmp_path))) as url:
        yield url


def settings(store: Store, folder, **others) -> Settings:
    return Settings(store=store.uri, heads=folder / "heads", jobs=folder / "jobs", encoders=(), **others)


def test_a_label_is_set_listed_removed_and_taken_back(url, store):
    with Client(url, service="embedding") as client:
        assert client.set_labels("t", {IDS[0]: [" dog "], IDS[1]: []}, source="page").changed == 2
        page = client.labels("t", label="dog")
        assert (page.count, page.labels[0].id, page.labels[0].labels, page.labels[0].source) == (
            1,
            IDS[0],
            ["dog"],
            "page",
        )
        assert client.labels("t", start=3, limit=1).count == 5
        last = client.labels("t", start=2**40)
        assert (last.count, last.labels) == (5, [])
        assert 'route="/v1/labels"' in httpx.get(f"{url}/metrics").text
        change = client.remove_labels("t", [IDS[0], "none"])
        assert (change.changed, client.labels("t").count) == (1, 4)
        history = client.label_history(IDS[0], task="t").history
        assert [(row.labels, row.by) for row in history] == [(["cat"], "page"), (["dog"], "http")]
        later = client.set_labels("u", {IDS[2]: ["x"]})
        with pytest.raises(RemoteProblem, match="is another one, of") as caught:
            client.undo(at=change.at)
        assert (caught.value.status, caught.value.code) == (409, "nothing_to_undo")
        assert client.undo(at=later.at).removed == 1
        assert client.undo(at=change.at).restored == 1
        assert client.undo().restored == 2

    async def awaited():
        async with AsyncClient(url, service="embedding") as client:
            return await client.labels("t")

    rows = asyncio.run(awaited())
    assert {tuple(row.labels) for row in rows.labels} == {("cat",)}
    assert {row.split for row in rows.labels} == {"train"}


BAD = [
    ({"labels": [{"id": "f" * 64, "labels": ["x"]}]}, 404, "unknown_id"),
    ({"labels": [{"id": IDS[0], "labels": ["x"], "split": "test"}]}, 409, "frozen_split"),
    ({"labels": [{"id": IDS[0], "labels": ["x"], "split": "dev"}]}, 422, "bad_split"),
    ({"labels": [{"id": IDS[0], "labels": ["   "]}]}, 422, "bad_request"),
    ({"labels": [{"id": IDS[0], "labels": ["x" * 10_000]}]}, 422, "bad_request"),
    ({"labels": [{"id": IDS[0], "labels": "x"}]}, 422, "bad_request"),
    ({"labels": [{"id": IDS[0], "label": ["x"]}]}, 422, "bad_request"),
    ({"labels": []}, 422, "bad_request"),
    ({"labels": [{"id": IDS[0], "labels": ["x"]}], "task": ""}, 422, "bad_request"),
]


def test_what_cannot_be_labelled_is_refused_and_nothing_is_written(url, store):
    """Each request has a good row too, which is not stored either."""
    before = store.snapshot().versions
    for body, status, code in BAD:
        good = [{"id": IDS[4], "labels": ["good"]}] if body["labels"] else []
        answer = httpx.post(f"{url}/v1/labels", json={"task": "t", **body, "labels": [*good, *body["labels"]]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), body
    surrogate = b'{"task": "t", "labels": [{"id": "%s", "labels": ["\\ud800"]}]}' % IDS[0].encode()
    answer = httpx.post(f"{url}/v1/labels", content=surrogate, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    for path, status, code in (
        ("labels?task=none", 404, "unknown_task"),
        ("labels?task=t&split=dev", 422, "bad_split"),
        ("labels?task=t&limit=0", 422, "bad_request"),
        ("labels/history?id=none", 404, "unknown_id"),
    ):
        answer = httpx.get(f"{url}/v1/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path
    assert store.snapshot().versions == before


def test_writing_needs_the_role_write_and_readers_see_no_path_of_the_server(service, store, tmp_path):
    lines = tuple(key.line for _, key in KEYS.values())
    body = {"task": "t", "labels": [{"id": IDS[0], "labels": ["dog"]}]}
    with served(service.create_app(settings(store, tmp_path, keys=lines))) as url:
        reader, writer = (
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEYS[role][0]}"}) for role in KEYS
        )
        with reader, writer:
            asked = [
                client.request(method, path, **arguments).status_code
                for client in (reader, writer)
                for method, path, arguments in (
                    ("POST", "/v1/labels", {"json": body}),
                    ("POST", "/v1/labels/undo", {"json": {}}),
                    ("DELETE", "/v1/labels", {"params": {"task": "t", "id": IDS[0]}}),
                )
            ]
            assert asked == [403] * 3 + [200] * 3
            rows = reader.get("/v1/labels", params={"task": "t"}).json()["labels"]
            history = reader.get("/v1/labels/history", params={"id": IDS[0]}).json()["history"]
    assert {row["source"] for row in [*rows, *history]} <= {"…/1.png", "http"}
    assert "/data" not in str([rows, history])


def test_two_clients_at_once_lose_no_change(url, store):
    """Both relabel every asset ten times. The history has each of the twenty changes."""

    async def relabel(name: str) -> None:
        async with AsyncClient(url, service="embedding") as client:
            for turn in range(10):
                await client.set_labels("t", {id_: [f"{name}{turn}"] for id_ in IDS}, source=name)

    async def both() -> None:
        await asyncio.gather(relabel("a"), relabel("b"))

    asyncio.run(both())
    found = {label for row in store.labels.of(IDS[0], "t") for label in row.labels}
    assert found == {"cat", *(f"{name}{turn}" for name in "ab" for turn in range(10))}


def test_many_changes_leave_few_fragments_so_that_the_next_change_is_fast(url, store, monkeypatch):
    monkeypatch.setattr(labels, "COMPACT_EVERY", 8)
    with Client(url) as client:
        for turn in range(60):
            client.set_labels("t", {IDS[turn % 5]: [f"label {turn}"]})
        history = client.label_history(IDS[4], task="t").history
    assert [row.labels[0] for row in history] == ["cat", *(f"label {turn}" for turn in range(4, 60, 5))]
    for table in (store.labels.table, store.labels.history.table):
        assert table._handle().stats()["fragment_stats"]["num_fragments"] < 30


def test_a_failed_compaction_does_not_fail_the_change(url, store, monkeypatch, caplog):
    def fail(_: object) -> None:
        raise Unavailable("no room to compact")

    monkeypatch.setattr(labels, "COMPACT_EVERY", 1)
    monkeypatch.setattr(type(store.labels), "compact", fail)
    with Client(url) as client:
        assert client.set_labels("t", {IDS[0]: ["dog"]}).changed == 1
        assert client.labels("t", label="dog").count == 1
    assert "labels not compacted" in caplog.text
