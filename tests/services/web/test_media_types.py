"""Media types, and the names of their parameters, are compared without regard to case (RFC 9110, 8.3.1)."""

import base64

import httpx
import pyarrow as pa
import pytest

from services.web.wire import ARROW_STREAM

JSONS = ["application/json", "Application/JSON", "APPLICATION/JSON; Charset=UTF-8", "application/json;charset=utf-8"]
FORMS = ["multipart/form-data; boundary=Xy", "Multipart/Form-Data; Boundary=Xy", 'MULTIPART/FORM-DATA;BOUNDARY="Xy"']


def form(data: bytes) -> bytes:
    head = b'--Xy\r\nContent-Disposition: form-data; name="images"; filename="x.jpg"\r\n\r\n'
    return head + data + b"\r\n--Xy--\r\n"


def labels(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [item["answers"][0]["label"] for item in response.json()["items"]]


@pytest.mark.parametrize("content_type", JSONS)
def test_json_in_any_case(services, photos, content_type):
    encoded = base64.b64encode(photos[0]).decode()
    content = f'{{"images": [{{"base64": "{encoded}"}}]}}'
    url = f"{services.classification_url}/classify?head=gaussian"
    assert len(labels(httpx.post(url, content=content, headers={"Content-Type": content_type}, timeout=60))) == 1
    url, content = f"{services.embedding_url}/v1/embeddings", '{"model": "lite0", "input": "a palace"}'
    assert httpx.post(url, content=content, headers={"Content-Type": content_type}, timeout=60).status_code == 200


@pytest.mark.parametrize("content_type", FORMS)
def test_a_form_in_any_case(services, photos, content_type):
    headers = {"Content-Type": content_type}
    url = f"{services.classification_url}/classify?head=gaussian"
    assert len(labels(httpx.post(url, content=form(photos[0]), headers=headers, timeout=60))) == 1
    found = httpx.post(f"{services.embedding_url}/v1/embed", content=form(photos[0]), headers=headers, timeout=60)
    assert len(found.json()["items"][0]["vector"]) == 1280


@pytest.mark.parametrize(
    "content_type", ["", "application/jsonlines", "multipart/form-data-2; boundary=Xy", "text/json"]
)
def test_another_type_is_refused_by_name(services, photos, content_type):
    url = f"{services.classification_url}/classify?head=gaussian"
    refused = httpx.post(url, content=form(photos[0]), headers={"Content-Type": content_type}, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_request")
    assert repr(content_type) in refused.json()["error"]["message"]


def test_arrow_is_accepted_in_any_case(services, photos):
    headers = {"Content-Type": FORMS[0], "Accept": ARROW_STREAM.upper()}
    found = httpx.post(f"{services.embedding_url}/v1/embed", content=form(photos[0]), headers=headers, timeout=60)
    assert len(pa.ipc.open_stream(found.content).read_all()["vector"][0]) == 1280
