"""The embedding service over HTTP: every endpoint gives the same vectors, and stores what it is asked to store."""

import base64
import time

import httpx
import numpy as np
import pyarrow as pa
import pytest
from helpers.pictures import photo

from embedder import probe
from embedder.encoder import Encoder
from embedder.media import Limits
from embedder.media.image import decode
from services.client import AsyncClient, Client
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest, to_asset
from services.web.wire import ARROW_STREAM
from store import Item, Store, asset_id


@pytest.fixture(scope="module")
def http(services):
    with httpx.Client(base_url=services.embedding_url, timeout=60) as client:
        yield client


def direct(lite0: Encoder, image: bytes) -> np.ndarray:
    return lite0.embed(np.stack([lite0.prepare(decode(image).image)])).vectors[0]


def cosine(a, b) -> float:
    a, b = np.asarray(a, float), np.asarray(b, float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_every_form_of_the_answer_has_the_vector_of_the_encoder(http, services, lite0, china):
    wanted = direct(lite0, china)
    as_json = http.post("/v1/embed", files={"files": ("china.jpg", china)}).json()
    with Client(services.embedding_url, service="embedding") as client:
        as_packed = client.embed([china], encoder="lite0")
    arrow = http.post("/v1/embed", files={"files": ("china.jpg", china)}, headers={"Accept": ARROW_STREAM}).content
    as_arrow = pa.ipc.open_stream(arrow).read_all()
    uri = "data:image/jpeg;base64," + base64.b64encode(china).decode()
    floats, packed = (
        http.post("/v1/embeddings", json={"model": "lite0", "input": uri, "encoding_format": encoding}).json()
        for encoding in ("float", "base64")
    )
    assert as_json["fingerprint"] == as_packed.fingerprint == lite0.spec.fingerprint
    assert as_arrow.schema.metadata[b"fingerprint"].decode() == lite0.spec.fingerprint
    assert as_json["items"][0]["name"] == "china.jpg"
    vectors = [
        as_json["items"][0]["vector"],
        as_packed.items[0].vector,
        as_arrow["vector"][0].as_py(),
        floats["data"][0]["embedding"],
        np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4"),
    ]
    assert min(cosine(wanted, vector) for vector in vectors) > 0.9999


def test_a_photo_has_the_same_vector_alone_and_among_others(services, lite0, china, photos):
    with Client(services.embedding_url, service="embedding", timeout=60) as client:
        items = client.embed([*photos * 5, china], encoder="lite0").items
    assert cosine(items[-1].vector, direct(lite0, china)) > 0.9999


def test_a_large_jpeg_has_the_vector_that_a_backfill_gives_it(services, lite0, tmp_path):
    """Service and backfill decode it at half its size. Without `scale_jpegs`, a backfill decodes it whole."""
    large = photo(7, 2048, 1536, "JPEG")
    stored = []
    for scale in (True, False):
        store = Store.open(tmp_path / f"{scale}.db")
        ingest(store, [Item(uri="large.jpg", data=large)])
        backfill(store, lite0, limits=Limits(scale_jpegs=scale))
        stored.append(store.features(lite0.spec.fingerprint).get([asset_id(large)])[1][0])
    half, whole = (
        lite0.embed(np.stack([lite0.prepare(decode(large, short_side=side).image)])).vectors[0]
        for side in (probe.jpeg_side(lite0), None)
    )
    with Client(services.embedding_url, service="embedding", timeout=60) as client:
        served = client.embed([large], encoder="lite0").items[0].vector
    assert not np.allclose(half, whole, rtol=1e-4)
    assert min(cosine(half, served), cosine(half, stored[0]), cosine(whole, stored[1])) > 0.999999


def test_texts(http, lite0):
    answer = http.post("/v1/embeddings", json={"model": "lite0", "input": ["a palace", "a flower"]}).json()
    wanted = lite0.embed_texts(["a palace", "a flower"])
    for item, vector in zip(answer["data"], wanted, strict=True):
        assert cosine(item["embedding"], vector) > 0.9999


def test_broken_items_fail_alone(http, china):
    items = http.post("/v1/embed", files=[("files", ("a", china)), ("files", ("b", b"nothing"))]).json()["items"]
    assert len(items[0]["vector"]) == 1280
    assert items[1]["error"]["code"] == "unknown_format"
    uris = ["data:image/jpeg;base64," + base64.b64encode(china).decode(), "data:image/jpeg;base64,AAAA"]
    data = http.post("/v1/embeddings", json={"model": "lite0", "input": uris}).json()["data"]
    assert [item["object"] for item in data] == ["embedding", "error"]


def test_unknown_encoder_is_404_with_the_names_there_are(http, china):
    response = http.post("/v1/embed?encoder=nosuch", files={"files": china})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_encoder")
    assert "lite0" in response.json()["error"]["message"]


def test_mixed_input_is_refused(http):
    response = http.post("/v1/embeddings", json={"model": "lite0", "input": ["text", "data:image/png;base64,AA=="]})
    assert response.status_code == 422


def test_vectors_have_a_fixed_length(http):
    request = {"model": "lite0", "input": "a text"}
    given = http.post("/v1/embeddings", json=request | {"dimensions": 1280.0})
    assert given.json()["data"] == http.post("/v1/embeddings", json=request).json()["data"]
    for dimensions in (256, 1281, 0):
        refused = http.post("/v1/embeddings", json=request | {"dimensions": dimensions})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_offered")
        assert "fixed length of 1280 dimensions" in refused.json()["error"]["message"]


def test_encoders_are_listed(http, lite0):
    first, second = http.get("/v1/encoders").json()
    assert (first["modalities"], second["modalities"]) == (["image"], ["audio"])
    assert (first["name"], first["fingerprint"], first["dim"]) == ("lite0", lite0.spec.fingerprint, 1280)
    assert (second["name"], second["dim"], second["text"], second["tokens"]) == ("melstat", 432, False, None)


def test_what_is_sent_to_be_kept_is_stored_labelled_and_embedded(http, home, lite0, china):
    files = [("files", ("china.jpg", china)), ("files", ("broken.jpg", b"\xff\xd8\xff"))]
    response = http.post("/v1/assets?task=place&label=palace&split=test", files=files)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["new"], answer["known"]) == (1, 0)
    assert answer["items"][1]["error"]["code"]
    stored = answer["items"][0]["id"]
    [[found], X] = home.store.features("lite0").get([stored])
    assert found == stored
    assert cosine(X[0], direct(lite0, china)) > 0.9999
    [row] = home.store.labels.get("place").to_pylist()
    assert (row["id"], row["labels"], row["split"]) == (stored, ["palace"], "test")
    again = http.post("/v1/assets", files=files[:1]).json()
    assert (again["new"], again["known"]) == (0, 1)
    for some in ("task=alone", "label=alone", "split=train", "split=nosuch", "split=train&task=alone"):
        refused = http.post(f"/v1/assets?{some}", files=files[:1])
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_request")


def test_refused_labels_leave_nothing_stored(http, home):
    data = photo(4711)
    refused = http.post("/v1/assets?task=place&label=palace&split=nosuch", files={"files": ("new.png", data)})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_split")
    assert home.store.assets.exists([asset_id(data)]) == set()
    assert home.store.features("lite0").get([asset_id(data)])[0] == []


def test_labels_are_written_after_their_assets(http, home):
    data = photo(4712)
    stored = http.post("/v1/assets?task=order&label=one", files={"files": ("new.png", data)})
    assert stored.status_code == 200, stored.text
    [asset] = home.store.assets.get([asset_id(data)])
    [row] = home.store.labels.get("order").to_pylist()
    added = home.store.assets.table.read(["added_at"], where=f"id = '{asset.id}'")["added_at"][0].as_py()
    assert (row["id"], row["at"] > added) == (asset.id, True)


def test_a_file_whose_split_is_frozen_is_refused_alone(http, home):
    known, new = photo(4713), photo(4714)
    assert http.post("/v1/assets?task=order&label=one&split=test", files={"files": known}).status_code == 200
    files = [("files", each) for each in (known, new, known, new, b"broken")]
    answer = http.post("/v1/assets?task=order&label=two&split=train", files=files)
    assert (answer.status_code, answer.json()["new"], answer.json()["known"]) == (200, 1, 1)
    items = answer.json()["items"]
    assert [item["status"] for item in items] == ["refused", "stored", "refused", "known", "refused"]
    codes = [item["error"] and item["error"]["code"] for item in items]
    assert codes == ["frozen_split", None, "frozen_split", None, "unknown_format"]
    assert "stored as test, now given as train" in items[0]["error"]["message"]
    rows = {row["id"]: (row["labels"], row["split"]) for row in home.store.labels.get("order").to_pylist()}
    assert rows[asset_id(known)] == (["one"], "test")
    assert rows[asset_id(new)] == (["two"], "train")
    assert home.store.features("lite0").get([asset_id(new)])[0] == [asset_id(new)]


@pytest.mark.parametrize("bad", ["split=nosuch", "split=", "label="])
def test_labels_that_no_file_may_have_are_refused_whatever_the_files_are(http, bad):
    """Also if no file of the request can be embedded."""
    for data in (photo(4715), b"broken"):
        refused = http.post(f"/v1/assets?task=order&label=one&{bad}", files={"files": data})
        assert (refused.status_code, refused.json()["error"]["code"][:4]) == (422, "bad_"), refused.text


def test_files_of_both_fields_are_answered_in_the_order_of_the_request(http, china):
    fields = ["images", "files", "images", "files"]
    files = [(field, (f"{i}.jpg", china)) for i, field in enumerate(fields)]
    items = http.post("/v1/embed", files=files).json()["items"]
    assert [item["name"] for item in items] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


@pytest.mark.parametrize("payload", ["é", "A" * 5, "!!!!", "data:image/png;base64,é"])
def test_what_is_no_base64_fails_alone(http, services, china, payload):
    good = base64.b64encode(china).decode()
    body = {"images": [{"base64": payload}, {"base64": good}]}
    answer = httpx.post(f"{services.classification_url}/classify?head=gaussian", json=body, timeout=60)
    broken, fine = answer.raise_for_status().json()["items"]
    assert broken["error"]["code"] == "bad_base64"
    assert fine["answers"]
    if payload.startswith("data:"):
        uris = [payload, f"data:image/jpeg;base64,{good}"]
        data = http.post("/v1/embeddings", json={"input": uris}).raise_for_status().json()["data"]
        assert [item["object"] for item in data] == ["error", "embedding"]


def test_a_data_uri_in_capitals_is_one_and_a_text_that_begins_alike_is_none(http, lite0, china):
    uri = "DATA:Image/JPEG;BASE64," + base64.b64encode(china).decode()
    [item] = http.post("/v1/embeddings", json={"input": uri}).raise_for_status().json()["data"]
    assert cosine(item["embedding"], direct(lite0, china)) > 0.9999
    texts = ["data: the new oil, they say", "data:base64 is a code"]
    data = http.post("/v1/embeddings", json={"input": texts}).raise_for_status().json()["data"]
    for item, wanted in zip(data, lite0.embed_texts(texts), strict=True):
        assert cosine(item["embedding"], wanted) > 0.9999


def test_tokens_of_an_encoder_without_tokens_are_refused_whatever_is_accepted(http, china):
    for accept in ("application/json", ARROW_STREAM):
        url, headers = "/v1/embed?encoder=melstat&tokens=true", {"Accept": accept}
        refused = http.post(url, files={"files": china}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_offered")
        assert "melstat has no tokens" in refused.json()["error"]["message"]


def test_a_backfill_of_tokens_that_an_encoder_does_not_have_is_refused_at_once(http):
    refused = http.post("/v1/backfills", json={"encoder": "melstat", "tokens": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_offered")
    assert "melstat has no tokens" in refused.json()["error"]["message"]


@pytest.mark.parametrize("content", [b'{"input": "\xff"}', b"[" * 100_000, b"{"])
def test_a_body_that_is_no_json_is_refused(http, content):
    refused = http.post("/v1/embeddings", content=content, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_request")


def test_a_backfill_by_http_fills_what_is_missing(http, home):
    asset = to_asset(photo(seed=7), "made.png")
    home.store.assets.add([asset])
    started = http.post("/v1/backfills", json={"encoder": "lite0"})
    assert started.status_code == 202
    status = started.json()
    deadline = time.monotonic() + 60
    while status["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
        status = http.get(f"/v1/backfills/{status['id']}").json()
    assert (status["state"], status["done"], status["total"]) == ("done", 1, 1), status
    assert home.store.features("lite0").get([asset.id])[0] == [asset.id]
    assert http.get("/v1/backfills/nosuch").status_code == 404


def test_the_async_client_speaks_the_same(services, china):
    import asyncio

    async def ask():
        async with AsyncClient(services.embedding_url, service="embedding", timeout=60) as client:
            return await asyncio.gather(*(client.embed([china], encoder="lite0") for _ in range(4)))

    batches = asyncio.run(ask())
    assert all(cosine(batch.items[0].vector, batches[0].items[0].vector) > 0.9999 for batch in batches)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/backfills", {"tokens": "true"}),
        ("/v1/backfills", {"retry_quarantined": 1}),
        ("/v1/embeddings", {"input": "a text", "dimensions": "1280"}),
        ("/v1/embeddings", {"input": "a text", "dimensions": True}),
    ],
)
def test_a_value_of_another_type_is_refused(http, path, body):
    refused = http.post(path, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_request")
