"""Half surrogate pairs, which JSON and some character sets can hold and UTF-8 cannot: refused everywhere with 422."""

import asyncio

import httpx
import pytest

from services import classification, embedding
from services.settings import Settings

HALF = r'"\ud800"'

JSON_BODIES = [
    (embedding, "/v1/embeddings", '{"input": %s}'),
    (embedding, "/v1/embeddings", '{"input": ["a", %s]}'),
    (embedding, "/v1/embeddings", '{"input": "a", "model": %s}'),
    (embedding, "/v1/embeddings", '{"input": 1, %s: 1}'),
    (embedding, "/v1/backfills", "{%s: 1}"),
    (classification, "/heads/cats/alias", '{"alias": %s, "version": "latest"}'),
    (classification, "/heads/cats/alias", '{"alias": "a", "version": "latest", %s: 1}'),
]


def post(service, path, content, content_type):
    async def ask():
        app = service.create_app(Settings(store="", log_level="CRITICAL"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            return await http.post(path, content=content, headers={"Content-Type": content_type})

    return asyncio.run(ask())


@pytest.mark.parametrize(("service", "path", "body"), JSON_BODIES)
def test_a_json_body_is_refused(service, path, body):
    answer = post(service, path, body % HALF, "application/json")
    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("utf-7", b"+2AA-.png"),
        ("unicode_escape", rb"\ud800.png"),
        ("raw_unicode_escape", rb"\ud800.png"),
        ("punycode", b"a-" + b"9" * 2000),
        ("undefined", b"a.png"),
        ("idna", b"xn--a"),
    ],
)
def test_a_form_in_another_character_set_is_refused(charset, name):
    """Python's codecs make half pairs of such names, raise errors that the parser does not expect, or take minutes."""
    form = b'--x\r\nContent-Disposition: form-data; name="images"; filename="%s"\r\n\r\nabc\r\n--x--\r\n' % name
    answer = post(classification, "/search?encoder=lite0", form, f"multipart/form-data; boundary=x; charset={charset}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_request")
    assert f"charset is '{charset}'; send it as utf-8" in answer.json()["error"]["message"]


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "iso-8859-1", "us-ascii"])
def test_a_form_in_an_ordinary_character_set_is_read(charset):
    form = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\nabc\r\n--x--\r\n'
    answer = post(classification, "/search?encoder=lite0", form, f"multipart/form-data; boundary=x; charset={charset}")
    assert answer.json()["error"]["code"] == "store_unavailable"  # read, and then there is no store
