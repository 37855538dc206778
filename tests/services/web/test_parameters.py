"""Files and parameters are taken in every form that clients send them in, and what is unknown is refused by name."""

import base64
from typing import Any

import httpx
import pytest

from services.web.known_names import suggestion


@pytest.fixture(scope="module")
def ask(services):
    """Send one request to the classification service: its status and its body."""

    def send(query: str = "", **content: Any) -> tuple[int, dict[str, Any]]:
        answer = httpx.post(f"{services.classification_url}/classify?{query}", timeout=60, **content)
        return answer.status_code, answer.json()

    return send


def told(answer: tuple[int, dict[str, Any]], status: int = 422, code: str = "bad_request") -> str:
    assert (answer[0], answer[1]["error"]["code"]) == (status, code), answer
    return str(answer[1]["error"]["message"])


def vector_of(answer: tuple[int, dict[str, Any]]) -> list[Any]:
    """The answers without names, which only some forms of a request carry."""
    assert answer[0] == 200, answer
    return [(item["id"], item["answers"]) for item in answer[1]["items"]]


def forms(photo: bytes) -> dict[str, dict[str, Any]]:
    """One photo for the head `gaussian` with one label: every form of the same request."""
    text = base64.b64encode(photo).decode()
    query, options = "head=gaussian&top_k=1", {"head": "gaussian", "top_k": 1}
    raw = {kind: {"Content-Type": kind} for kind in ("image/jpeg", "Image/PNG; x=y", "application/octet-stream")}
    one = [text, f"data:image/jpeg;base64,{text}", {"base64": text}]
    return {
        **{kind: {"query": query, "content": photo, "headers": headers} for kind, headers in raw.items()},
        **{name: {"query": query, "files": {name: ("x", photo)}} for name in ("image", "images", "file", "files")},
        "parameters in the form": {"files": {"image": ("x", photo)}, "data": options},
        "the same head twice": {"query": "head=gaussian", "files": {"image": ("x", photo)}, "data": options},
        **{f"image as {str(each)[:12]}": {"json": {"image": each, **options}} for each in one},
        **{f"images as {str(each)[:12]}": {"json": {"images": [each], **options}} for each in one},
        "a list of heads": {"json": {"images": [text], "head": ["gaussian"], "top_k": 1.0}},
        "parameters in the query": {"query": query, "json": {"image": text}},
    }


def test_every_form_of_a_request_has_the_same_answer(ask, photos):
    answers = {name: vector_of(ask(**form)) for name, form in forms(photos[0]).items()}
    assert len(answers) == 17
    [first, *others] = answers.values()
    assert len(first) == 1
    assert len(first[0][1][0]["top_k"]) == 1
    assert all(each == first for each in others)


def test_files_of_all_forms_keep_their_order(ask, photos):
    texts = [base64.b64encode(photo).decode() for photo in photos[:3]]
    images = [texts[0], f"data:image/png;base64,{texts[1]}", {"base64": texts[2], "name": "c.png"}]
    found = ask(json={"images": images, "head": "gaussian"})[1]["items"]
    form = [("image", ("a", photos[0])), ("file", ("b", photos[1])), ("files", ("c.png", photos[2]))]
    assert [item["id"] for item in found] == [item["id"] for item in ask("head=gaussian", files=form)[1]["items"]]
    assert found[2]["name"] == "c.png"


def test_what_is_unknown_is_refused_by_name_with_what_is_meant(ask, photos):
    file = {"image": ("x", photos[0])}
    for answer in (
        ask("head=gaussian&topk=1", files=file),
        ask("head=gaussian", files=file, data={"topk": "1"}),
        ask(json={"ids": [], "head": "gaussian", "topk": 1}),
        ask("head=gaussian&topK=1", json={"ids": []}),
    ):
        assert "did you mean 'top_k'?" in told(answer)
        assert "topk" in told(answer).lower()
    assert "'photo'" in told(ask("head=gaussian", files={"photo": ("x", photos[0])}))
    assert "did you mean 'base64'?" in told(ask("head=gaussian", json={"images": [{"base46": ""}]}))
    assert "did you mean 'head'?" in told(ask(json={"ids": [], "heads": ["gaussian"]}))
    assert "should be an object" in told(ask(json=[None, None]))
    assert "no parameter is known" in suggestion("x", ())


def test_two_values_of_a_parameter_are_refused_wherever_they_are(ask, photos):
    file = {"image": ("x", photos[0])}
    for answer in (
        ask("head=gaussian", files=file, data={"head": "linear"}),
        ask("head=gaussian", json={"ids": [], "head": "linear"}),
        ask("head=gaussian", json={"ids": [], "head": ["gaussian", "linear"]}),
    ):
        assert "gaussian" in told(answer, 409, "two_values")
        assert "give it once" in told(answer, 409, "two_values")


def test_parameters_of_a_body_have_the_rules_of_the_query(ask, photos):
    assert "top_k" in told(ask(json={"ids": [], "head": "gaussian", "top_k": 0}))
    assert "top_k" in told(ask("head=gaussian", files={"image": ("x", photos[0])}, data={"top_k": "many"}))
    assert "sets" in told(ask(json={"ids": [], "head": "gaussian", "sets": "all"}))
    long = ask("head=gaussian", files={"image": ("x", photos[0])}, data={"labels": "x" * 70_000})
    assert "labels" in told(long, 413, "too_large")


def test_other_endpoints_take_parameters_in_a_form_and_one_file_as_the_body(services, photos):
    url, search = f"{services.embedding_url}/v1/embed", f"{services.classification_url}/search"
    form = httpx.post(url, files={"image": ("x", photos[0])}, data={"encoder": "lite0"}, timeout=60).json()
    raw = httpx.post(url, content=photos[0], headers={"Content-Type": "image/png"}, timeout=60).json()
    assert form["items"][0]["vector"] == raw["items"][0]["vector"]
    found = httpx.post(search, files={"file": ("x", photos[0])}, data={"encoder": "lite0", "k": "3"}, timeout=60)
    assert len(found.json()["hits"]) == 3
    stored = httpx.post(f"{services.embedding_url}/v1/embed?encodr=lite0", content=b"", timeout=60)
    assert "did you mean 'encoder'?" in stored.json()["error"]["message"]
    refused = httpx.get(f"{search}?encoder=lite0&txt=hat", timeout=60)
    assert (refused.status_code, "did you mean 'text'?" in refused.text) == (422, True)


def test_an_empty_or_broken_file_as_the_body_is_a_problem_of_the_item(ask):
    headers = {"Content-Type": "image/jpeg"}
    for content, code in ((b"", "empty"), (b"no photo at all", "unknown_format")):
        status, answer = ask("head=gaussian", content=content, headers=headers)
        assert (status, answer["items"][0]["error"]["code"]) == (200, code)


def test_a_url_is_never_embedded_as_a_text(services, ask):
    url = "https://example.org/cat.jpg"
    openai = f"{services.embedding_url}/v1/embeddings"
    for answer in (
        httpx.post(openai, json={"model": "lite0", "input": url}, timeout=60),
        httpx.post(openai, json={"model": "lite0", "input": ["a cat", f" {url}\n"]}, timeout=60),
        httpx.get(f"{services.classification_url}/search", params={"encoder": "lite0", "text": "s3://b/x"}, timeout=60),
    ):
        assert "send the file itself" in told((answer.status_code, answer.json()))
    item = ask(json={"image": url, "head": "gaussian"})[1]["items"][0]
    assert "fetches no URL" in item["error"]["message"]
    about = httpx.post(openai, json={"model": "lite0", "input": f"a photo of {url}"}, timeout=60)
    assert about.status_code == 200


@pytest.mark.parametrize("name", ["embedding_url", "classification_url"])
def test_the_root_and_every_get_answer_head(services, name):
    url = getattr(services, name)
    page = httpx.get(url)
    assert (page.status_code, 'href="docs"' in page.text) == (200, True)
    for path in ("/", "/docs", "/health/ready", "/metrics", "/v1/models" if "embed" in name else "/heads"):
        head, get = httpx.head(url + path), httpx.get(url + path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
    assert httpx.head(f"{url}/nothing").status_code == 404
    assert httpx.get(f"{url}/metrics").text.count('method="HEAD",route="/docs"') >= 1
