"""POST /classify on real services: sources of vectors, several heads, bad items beside good ones."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from classifiers.published.registry import Registry
from embedder.encoder import Encoder
from embedder.media.image import decode
from services.client import Client
from services.web.errors import RemoteProblem


@pytest.fixture(scope="module")
def http(services):
    with httpx.Client(base_url=services.classification_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(services):
    with Client(services.classification_url, timeout=60) as client:
        yield client


def ask(http: httpx.Client, query: str = "head=gaussian", **content: Any) -> httpx.Response:
    return http.post(f"/classify?{query}", **content)


def files(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{i}.jpg", data)) for i, data in enumerate(images)]


def expected(home, lite0: Encoder, image: bytes, head: str = "gaussian"):
    """Return the answer of an encoder and a head in this process, without a service."""
    vectors = lite0.embed(np.stack([lite0.prepare(decode(image).image)])).vectors
    [answer] = Registry(home.settings.heads).load(head).answer(vectors)
    return answer


def test_one_photo_is_answered_as_without_a_service(http, home, lite0, photos):
    response = ask(http, files=files(photos[0]))
    assert response.status_code == 200, response.text
    [item] = response.json()["items"]
    [answer] = item["answers"]
    direct = expected(home, lite0, photos[0])
    assert answer["label"] == direct.label
    assert answer["probability"] == pytest.approx(direct.probability, abs=0.01)
    assert answer["outlier_percentile"] == pytest.approx(direct.outlier_percentile, abs=3)
    assert answer["prediction_set"]["coverage"] == 0.9
    assert answer["label"] in answer["prediction_set"]["labels"]
    assert sum(each["probability"] for each in answer["top_k"]) == pytest.approx(1, abs=1e-5)
    assert item["name"] == "0.jpg"


@pytest.mark.parametrize("head", ["gaussian", "linear"])
@pytest.mark.parametrize("sets", ["lac", "aps"])
def test_any_coverage_is_answered(client, home, lite0, photos, head, sets):
    [[answer]] = [item.answers for item in client.classify([photos[0]], heads=[head], coverage=0.123, sets=sets).items]
    assert answer.prediction_set.coverage == 0.123
    assert answer.prediction_set.labels[0] == answer.label
    assert answer.outlier_percentile == pytest.approx(expected(home, lite0, photos[0], head).outlier_percentile, abs=3)


def test_a_head_abstains_only_when_asked_and_says_why(http, client, home, photos, china):
    assert "abstained" not in ask(http, files=files(photos[0])).json()["items"][0]["answers"][0]
    answers = [
        item.answers[0] for item in client.classify([photos[0], china], heads=["linear"], max_outlier=99.5).items
    ]
    assert [answer.abstained for answer in answers] == [False, True]
    assert [answer.abstained_for for answer in answers] == [None, ["outlier"]]
    assert answers[1].label in Registry(home.settings.heads).load("linear").head.classes
    [item] = client.classify([photos[0]], heads=["linear"], min_probability=1.0).items
    assert (item.answers[0].abstained, item.answers[0].abstained_for) == (True, ["low_probability"])


def test_every_head_answers_from_one_pass(http, services, photos):
    before = encoded(services)
    [item] = ask(http, "head=gaussian&head=linear@latest&top_k=1", files=files(photos[0])).json()["items"]
    assert [answer["head"] for answer in item["answers"]] == ["gaussian", "linear"]
    assert all(len(answer["top_k"]) == 1 for answer in item["answers"])
    assert encoded(services) == before + 1


def encoded(services) -> float:
    """Return the number of images that the embedding service has embedded."""
    lines = httpx.get(f"{services.embedding_url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('headwater_items_total{outcome="ok"}'))


def test_broken_items_fail_alone(http, photos):
    broken = {"empty": b"", "unknown_format": b"<html>no</html>", "truncated": photos[1][: len(photos[1]) // 2]}
    items = ask(http, files=files(photos[0], *broken.values(), photos[1])).json()["items"]
    assert [item.get("error", {}).get("code") for item in items] == [None, *broken, None]
    assert len(items[0]["answers"]) == len(items[-1]["answers"]) == 1


def test_base64_images_as_json(http, photos):
    good = base64.b64encode(photos[0]).decode()
    images = [{"base64": good, "name": "a"}, {"base64": "%%%"}, {"base64": f"data:image/png;base64,{good}"}]
    items = ask(http, json={"images": images}).json()["items"]
    assert [item.get("error", {}).get("code") for item in items] == [None, "bad_base64", None]
    assert items[0]["answers"] == items[2]["answers"]
    assert items[0]["name"] == "a"


def test_files_are_read_as_the_modality_of_the_request_beside_a_broken_one(http, photos):
    """A photo is no sound, so it must not be answered as a photo, whatever stands before it."""
    good, broken = {"base64": base64.b64encode(photos[0]).decode()}, {"base64": "%%%"}
    for images, codes in (
        ([good, broken], ["wrong_modality", "bad_base64"]),
        ([broken, good], ["bad_base64", "wrong_modality"]),
    ):
        items = ask(http, "head=gaussian&modality=audio", json={"images": images}).json()["items"]
        assert [item["error"]["code"] for item in items] == codes


def test_stored_ids_need_no_embedding(client, services, home):
    ids = home.store.missing("0" * 64)[:3]
    before = encoded(services)
    answer = client.classify_ids([*ids, "f" * 64], heads=["gaussian"])
    assert encoded(services) == before
    assert [item.id for item in answer.items] == [*ids, "f" * 64]
    assert [item.error.code if item.error else None for item in answer.items] == [None] * 3 + ["unknown_id"]


def test_ids_that_are_all_unknown_are_404(client):
    with pytest.raises(RemoteProblem) as raised:
        client.classify_ids(["f" * 64], heads=["gaussian"])
    assert (raised.value.status, raised.value.code) == (404, "unknown_id")


def test_vectors_of_the_request(http, home, lite0, photos):
    vector = lite0.embed(np.stack([lite0.prepare(decode(photos[0]).image)])).vectors[0].tolist()
    for encoder in ("lite0", lite0.spec.fingerprint):
        body = {"vectors": [vector, vector[:-1]], "encoder": encoder}
        items = ask(http, json=body).json()["items"]
        assert items[0]["answers"][0]["label"] == expected(home, lite0, photos[0]).label
        assert items[1]["error"]["code"] == "bad_vector"


def test_vectors_of_another_encoder_are_409(http):
    response = ask(http, json={"vectors": [[0.0] * 1280], "encoder": "a" * 64})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "wrong_fingerprint")
    assert "a" * 64 in response.json()["error"]["message"]
    assert "lite0" in response.json()["error"]["message"]


def test_vectors_of_an_encoder_that_no_head_knows_are_404(http):
    response = ask(http, json={"vectors": [[0.0] * 1280], "encoder": "lite9"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_encoder")
    assert "'lite9'; known: lite0" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("query", "code", "told"),
    [
        ("head=nosuch", "unknown_head", "gaussian, linear, named, parts, several"),
        ("head=gaussian@nosuch", "unknown_alias", "latest"),
        ("head=gaussian@20200101T000000000Z-0123456789ab", "unknown_version", "gaussian"),
    ],
)
def test_unknown_names_are_404_with_those_that_exist(http, photos, query, code, told):
    response = ask(http, query, files=files(photos[0]))
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (404, code)
    assert told in error["message"] or code == "unknown_version"
    assert error["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("query", "content"),
    [
        ("", {"files": files(b"x")}),  # two heads: which one?
        ("head=gaussian", {"json": {}}),
        ("head=gaussian", {"json": {"ids": ["a"], "vectors": [[1.0]], "encoder": "lite0"}}),
        ("head=gaussian", {"json": {"ids": ["a"], "misspelt": 1}}),
        ("head=gaussian", {"content": b"{", "headers": {"content-type": "application/json"}}),
        ("head=gaussian", {"content": b"plain"}),
        ("head=gaussian", {"data": {"images": "no file"}}),
        ("head=gaussian&top_k=0", {"files": files(b"x")}),
        ("head=gaussian&coverage=1", {"files": files(b"x")}),
        ("head=gaussian&sets=raps", {"files": files(b"x")}),
        ("head=gaussian&min_probability=1.1", {"files": files(b"x")}),
        ("head=gaussian&max_outlier=101", {"files": files(b"x")}),
        ("head=../etc", {"files": files(b"x")}),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(http, query, content):
    response = ask(http, query, **content)
    assert 400 <= response.status_code < 500, response.text
    assert set(response.json()["error"]) == {"code", "message", "request_id"}
    assert "Traceback" not in response.text


def test_a_given_request_id_comes_back_and_a_bad_one_does_not(http):
    assert http.get("/heads", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert http.get("/heads", headers={"x-request-id": "a b\tc"}).headers["x-request-id"] != "a b\tc"


def test_heads_are_listed_shown_and_promoted(http, home):
    listed = {head["name"]: head for head in http.get("/heads").json()["heads"]}
    assert set(listed) == {"gaussian", "linear", "named", "parts", "several", "words"}
    version = listed["linear"]["aliases"]["latest"]
    assert http.get("/heads/linear").json()["version"] == version
    answer = http.post("/heads/linear/alias", json={"alias": "production", "version": version})
    assert answer.status_code == 200, answer.text
    assert Registry(home.settings.heads).aliases("linear")["production"] == version
    assert http.post("/heads/linear/alias", json={"alias": "x", "version": "nosuch"}).status_code == 404


def test_search_by_id_image_and_text(http, home, china):
    ids = home.store.missing("0" * 64)
    hits = http.get("/search", params={"encoder": "lite0", "id": ids[0], "k": 3}).json()["hits"]
    [_], X = home.store.features("lite0").get(ids[:1])
    others, Y = home.store.features("lite0").get(ids[1:])
    cosines = Y @ X[0] / np.linalg.norm(Y, axis=1) / np.linalg.norm(X[0])
    assert [hit["id"] for hit in hits] == [others[i] for i in np.argsort(-cosines)[:3]]
    by_image = http.post("/search?encoder=lite0&k=1", files=files(home.cells[5].path.read_bytes())).json()["hits"]
    assert by_image[0]["uri"] == str(home.cells[5].path)
    assert by_image[0]["score"] == pytest.approx(1, abs=5e-3)
    assert http.get("/search", params={"encoder": "lite0", "text": "a cracked solar cell"}).json()["hits"]


def test_a_search_for_nothing_or_for_what_is_not_there(http):
    assert http.get("/search", params={"encoder": "lite0"}).status_code == 422
    assert http.get("/search", params={"encoder": "lite0", "id": "0" * 64}).status_code == 404
    assert http.get("/search", params={"encoder": "nosuch", "id": "0" * 64}).status_code == 404
    assert http.post("/search?encoder=lite0", files=files(b"nothing")).status_code == 422


def test_metrics_tell_requests_by_route_and_time_by_stage(http, services, photos):
    ask(http, files=files(photos[0]))
    http.get("/no/such/path")
    own, embedding = (httpx.get(f"{url}/metrics").text for url in (str(http.base_url), services.embedding_url))
    assert 'headwater_requests_total{method="POST",route="/classify",status="200"}' in own
    assert 'route="unmatched",status="404"' in own
    assert "/no/such/path" not in own
    count = 'headwater_stage_seconds_count{stage="%s"} '
    assert float(own.partition(count % "head")[2].split()[0]) > 0
    for stage in ("queue", "decode", "encode"):
        assert float(embedding.partition(count % stage)[2].split()[0]) > 0
    assert 'headwater_queue_depth{encoder="lite0"} 0.0' in embedding
