"""JSON bodies with too many values are refused before they are parsed, and no answer repeats a long text."""

import base64
import json

import httpx
import pytest

from services.processes import Running
from services.web.json_bodies import MOST_VALUES, _count_values
from services.web.quoting import LONGEST_ECHO, LONGEST_FILE_NAME
from services.web.wire import decode_base64


@pytest.mark.parametrize(
    "value", [[], {}, [1, 2, 3], [[1], [2, [3, {}]]], {"a": [1, 2], "b": {"c": 1}}, "text", ["a"] * 1000, [[]] * 50]
)
def test_no_body_has_more_values_than_are_counted(value):
    def values(part: object) -> int:
        inside = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return 1 + sum(map(values, inside))

    for text in (json.dumps(value), json.dumps(value, indent=1), " " * (3 << 20) + json.dumps(value)):
        assert values(value) <= _count_values(text.encode()) <= 2 * values(value)


def post(url: str, content: object) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx.post(url, content=body, headers={"Content-Type": "application/json"}, timeout=60)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.fixture(scope="module")
def classify(services: Running) -> str:
    return f"{services.classification_url}/classify?head=gaussian"


@pytest.fixture(scope="module")
def embeddings(services: Running) -> str:
    return f"{services.embedding_url}/v1/embeddings"


def test_too_many_values_are_413(classify, embeddings):
    many = b"[" + b"1," * MOST_VALUES + b"1]"
    assert code(post(classify, b'{"encoder":"lite0","vectors":[' + many + b"]}")) == (413, "too_large")
    assert code(post(embeddings, b'{"input":' + many + b"}")) == (413, "too_large")


def test_wrong_items_make_one_fault_and_not_one_each(classify, embeddings):
    assert len(post(embeddings, {"input": [1] * 10_000}).content) < 1000
    assert len(post(classify, {"ids": [1] * 10_000}).content) < 1000
    assert len(post(classify, {"vectors": [["a"] * 100] * 100, "encoder": "lite0"}).content) < 1000


def test_too_many_unknown_fields_are_413(classify, embeddings):
    fields = {str(i): i for i in range(1000)}
    assert code(post(classify, {"ids": [], **fields})) == (413, "too_large")
    assert code(post(embeddings, {"input": "a", **fields})) == (413, "too_large")
    assert code(post(classify, {"images": [{str(i): i for i in range(10_000)}]})) == (413, "too_large")


@pytest.mark.parametrize("content", [b"{", b"[[[[", b'{"input": "\xff"}', b'{"input": "\\ud800"}', b"[" * 10_000])
def test_broken_json_is_422(classify, embeddings, content):
    assert code(post(classify, content)) == (422, "bad_request")
    assert code(post(embeddings, content)) == (422, "bad_request")


LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("classify?head=gaussian", {"ids": [LONG]}),
        ("classify?head=gaussian", {"ids": [], LONG: 1}),
        ("classify?head=gaussian", {"vectors": [[1]], "encoder": LONG}),
        ("classify?head=" + LONG[:5000], {"ids": []}),
        ("heads/gaussian/alias", {"alias": LONG, "version": "1"}),
        ("heads/gaussian/alias", {"alias": "a", "version": LONG}),
        ("heads/" + LONG[:5000] + "/alias", {"alias": "a", "version": "1"}),
        (LONG[:5000], {}),
    ],
)
def test_no_answer_of_the_classification_service_repeats_a_long_text(services, path, body):
    answer = post(f"{services.classification_url}/{path}", body)
    assert 400 <= answer.status_code < 500
    assert "x" * (LONGEST_ECHO + 1) not in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("v1/embeddings", {"input": "a", "model": LONG}),
        ("v1/backfills", {"encoder": LONG}),
        ("v1/backfills", {LONG: 1}),
    ],
)
def test_no_answer_of_the_embedding_service_repeats_a_long_text(services, path, body):
    answer = post(f"{services.embedding_url}/{path}", body)
    assert 400 <= answer.status_code < 500
    assert "x" * (LONGEST_ECHO + 1) not in answer.text


def test_only_an_id_is_looked_up(services, classify, home):
    [known] = home.store.missing("0" * 64)[:1]
    wrong = ["", known[:40], known.upper(), known + "0", "' OR 1=1 --", LONG]
    items = post(classify, {"ids": [known, *wrong]}).json()["items"]
    assert [item.get("error", {}).get("code") for item in items] == [None, *["unknown_id"] * len(wrong)]
    assert all(len(item["id"]) <= LONGEST_ECHO for item in items)
    assert code(post(classify, {"ids": wrong})) == (404, "unknown_id")
    for each in wrong[1:-1]:
        found = httpx.get(f"{services.classification_url}/search", params={"encoder": "lite0", "id": each}, timeout=60)
        assert code(found) == (404, "unknown_id")


def test_names_of_files_are_repeated_up_to_the_longest_that_a_file_can_have(classify, photos):
    for length, told in ((LONGEST_FILE_NAME, LONGEST_FILE_NAME), (3000, LONGEST_FILE_NAME)):
        answer = httpx.post(classify, files=[("images", ("n" * length, photos[0]))], timeout=60)
        assert len(answer.json()["items"][0]["name"]) == told


def test_of_a_text_the_beginning_is_read(embeddings):
    words = "a cat on a green sofa " * 1000
    short, long = (post(embeddings, {"input": words[:size]}).json()["data"][0]["embedding"] for size in (8192, 22_000))
    assert short == long


@pytest.mark.parametrize("size", [0, 1, 2, 3, 2**20 * 3 // 4, 2**20, 2**20 + 1, 3_000_000])
def test_base64_in_pieces_is_what_it_is_whole(size):
    data = bytes(i % 251 for i in range(size))
    text = base64.b64encode(data).decode()
    assert decode_base64(text).data == data
    assert decode_base64("data:image/png;base64," + text).data == data


@pytest.mark.parametrize("text", ["A" * (2**20 - 1) + "=" + "AAAA", "A" * (2**20 + 1), "A" * 2**20 + "é"])
def test_bad_base64_is_found_in_every_piece(text):
    error = decode_base64(text).error
    assert error is not None
    assert error.code == "bad_base64"
